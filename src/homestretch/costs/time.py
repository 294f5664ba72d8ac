"""Operations and seconds of a training stage, and bytes that a decoding step reads.

A multiplication and an addition are two operations. For a row of A tokens behind a prompt of P that K rows share,

    read    = 2 linear (A + P / K) + 4 hidden layers (A (P + A / 2) + P^2 / (2 K))                       (1)
    head    = 2 head A                                                                                   (2)
    learn   = 2 or 3 times the products of (1), 3 times its attention, 3 or 4 times (2), adapters        (3)
    step    = max(bytes / bandwidth, operations / rate)                                                  (4)

of which (3) has the larger number where every weight learns, not adapters alone: a frozen weight has no gradient.
The LM head is read once more in the backward pass, which makes log-probabilities again; gradient checkpointing makes
(1) again. Halves of an encoder-decoder model have half of the weights each. Norms, softmax and sampling are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from homestretch.costs.shape import Row, Shape

FLOAT = 4
EFFICIENCY = 0.5
"""Of the machine's limit, reached by whole training steps and by decoding: docs/log.md has 0.54 of a decoding step."""


@dataclass(frozen=True)
class Machine:
    """What one device does: `rate`, operations a second of a large matrix product; `bandwidth`, bytes a second read
    from memory. Both are limits of which `EFFICIENCY` is reached."""

    rate: float
    bandwidth: float

    def seconds(self, operations: float, read: float = 0.0) -> float:
        """Time of work that is bound by operations or by bytes `read`, whichever takes longer (eq. 4)."""
        return max(operations / self.rate, read / self.bandwidth) / EFFICIENCY


def products(shape: Shape, row: Row) -> float:
    """Operations of the linear layers (eq. 1)."""
    return 2 * shape.linear / shape.halves * row.tokens


def attention(shape: Shape, row: Row) -> float:
    """Operations of queries with keys and weights with values (eq. 1)."""
    pairs = row.answer * (row.prompt + row.answer / 2) + row.prompt**2 / 2 / row.sharing
    return 4 * shape.hidden * shape.layers / shape.halves * pairs


def head(shape: Shape, row: Row) -> float:
    """Operations of the LM head, which reads answers alone (eq. 2)."""
    return 2 * shape.head * row.answer


def reading(shape: Shape, row: Row, *, scored: bool = True) -> float:
    """Operations of a pass without gradients, with log-probabilities if `scored`."""
    return products(shape, row) + attention(shape, row) + (head(shape, row) if scored else 0.0)


def learning(shape: Shape, row: Row, rank: int | None, *, scored: bool = True, checkpointing: bool = False) -> float:
    """Operations of a pass and its gradients (eq. 3); `rank` of the adapters, None where every weight learns."""
    full = rank is None
    adapter = 0.0 if rank is None else 2 * rank * shape.sides / shape.halves * row.tokens
    passes = (3 if full else 2) * products(shape, row) + 3 * (attention(shape, row) + adapter)
    again = products(shape, row) + attention(shape, row) + adapter if checkpointing else 0.0
    return passes + again + ((4 if full else 3) * head(shape, row) if scored else 0.0)


def step_bytes(shape: Shape, rows: float, tokens: float, *, width: int = FLOAT) -> float:
    """Bytes that a decoding step of `rows` rows with `tokens` each reads, at `width` bytes a number: the decoder's
    weights once, and the keys and values of every row."""
    return width * (shape.linear / shape.halves + shape.head + rows * tokens * shape.key_values)


def step_operations(shape: Shape, rows: float, tokens: float) -> float:
    """Operations of a decoding step."""
    return rows * (
        2 * (shape.linear / shape.halves + shape.head) + 4 * shape.hidden * shape.layers / shape.halves * tokens
    )


def decoding_seconds(
    shape: Shape, row: Row, machine: Machine, *, samples: float, rows: float, width: int = FLOAT
) -> float:
    """Time to write `samples` answers, `rows` at a time, whose places are filled again; prompts are read first."""
    rows = min(rows, samples)
    if not rows:
        return 0.0
    tokens = row.prompt + row.answer / 2
    step = machine.seconds(step_operations(shape, rows, tokens), step_bytes(shape, rows, tokens, width=width))
    prompts = reading(shape, Row(row.prompt, 0.0, row.sharing), scored=False)
    return samples / rows * row.answer * step + machine.seconds(samples * prompts)


@dataclass(frozen=True)
class Round:
    """A round of an online method: `samples`, `rows` of them decoded at a time; `scored` passes that give
    log-probabilities and `judged` ones that do not; `epochs` over the samples."""

    samples: float
    rows: float
    epochs: float = 1
    scored: int = 2
    judged: int = 1


def round_seconds(
    shape: Shape, row: Row, machine: Machine, round_: Round, rank: int | None, *, checkpointing: bool = False,
    width: int = FLOAT,
) -> dict[str, float]:  # fmt: skip
    """Time of one round by part: `decoding`, `scoring`, `updates`."""
    read = round_.scored * reading(shape, row) + round_.judged * reading(shape, row, scored=False)
    learn = round_.epochs * learning(shape, row, rank, checkpointing=checkpointing)
    return {
        "decoding": decoding_seconds(shape, row, machine, samples=round_.samples, rows=round_.rows, width=width),
        "scoring": machine.seconds(round_.samples * read),
        "updates": machine.seconds(round_.samples * learn),
    }

"""Memory that a training stage needs at its peak: arithmetic on numbers of weights, layers and tokens. No torch.

    held  = process + models * weights + adapters + moments                                              (1)
    peak  = held + max(pass, gradients, decoding)                                                        (2)
    pass  = heap * kept * outputs * tokens + logits [+ gradients of earlier passes]                      (3)

`outputs` is the number of outputs of all linear layers of the model: what a layer keeps for the backward pass is about
as many times that in every architecture. With checkpointing it is one state a layer, and all of one layer at a time.
The constants are of float32 on a CPU, where they were measured; those of an accelerator are counted, not measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from homestretch.costs.shape import Shape, trained

FLOAT = 4
KEPT_LORA, KEPT_FULL = 2.1, 2.4
"""Numbers that autograd keeps for each output of a linear layer: counted on a Llama, rows apart and packed."""
HEAP = 1.95
"""What the C heap holds for each byte that autograd keeps in it: measured, 1.9 to 2.0 from 384 to 1,536 tokens."""
PROCESS = 600 << 20
"""Python with torch, transformers and the data, before any weight is loaded: measured, 580 MiB."""
LOGIT_COPIES = 3
"""Tensors of a chunk's size in its backward pass: logits, probabilities, gradient."""


@dataclass(frozen=True)
class Work:
    """What a stage holds and does at a time.

    `rank` of the adapters, None where every weight learns; `models`: copies of the base weights; `adapters` on them;
    `pass_tokens` of a forward pass, of which an update has `several` or one; `views`: passes with gradients that are
    alive at one time; `rows` that decode together, each of `row_tokens`; `logits` of a chunk at most; `shards`:
    processes that share one copy of the base weights, and of gradients and moments where every weight learns.
    """

    rank: int | None
    pass_tokens: float
    logits: int
    several: bool = False
    checkpointing: bool = False
    models: int = 1
    adapters: int = 1
    views: int = 1
    rows: int = 0
    row_tokens: float = 0
    shards: int = 1


@dataclass(frozen=True)
class Numbers:
    """What a number weighs, and what is there besides.

    Bytes of a `weight`, of one that autograd has `kept`, of the `process` without a model; `heap`: bytes held for each
    byte that autograd keeps; whether decoding has `packed` copies of the weights.
    """

    weight: int = FLOAT
    kept: int = FLOAT
    process: int = PROCESS
    heap: float = HEAP
    packed: bool = True


CPU = Numbers()
"""Float32 on a CPU: measured."""
GPU = Numbers(weight=2, kept=2, process=1 << 30, heap=1.0, packed=False)
"""Frozen weights and passes in bfloat16 on an accelerator: counted in bytes, not measured."""


def activations(shape: Shape, tokens: float, *, full: bool, checkpointing: bool, width: int = FLOAT) -> float:
    """Bytes that autograd keeps of a forward pass. A token goes through the encoder or the decoder, not both."""
    kept = (KEPT_FULL if full else KEPT_LORA) * shape.outputs / shape.halves
    if checkpointing:
        deep = shape.layers / shape.halves
        kept = shape.hidden * deep + kept / max(deep, 1)
    return width * tokens * kept


def decoding(shape: Shape, work: Work, numbers: Numbers) -> float:
    """Bytes of a merged copy of the linear layers, of packed copies of those and of the vocabulary's, of all weights
    where they are sharded otherwise, and of the keys and values of the rows."""
    copies = shape.linear + (shape.parameters if numbers.packed else 0) + (shape.parameters if work.shards > 1 else 0)
    cache = work.rows * work.row_tokens * shape.key_values
    return numbers.weight * (copies + cache) if work.rows else 0.0


def gathered(shape: Shape, shards: int) -> float:
    """Weights that a pass holds whole beside its shard: the vocabulary's and a layer's."""
    return shape.parameters - shape.linear + shape.linear / max(shape.layers, 1) if shards > 1 else 0.0


def needed(shape: Shape, work: Work, numbers: Numbers = CPU) -> dict[str, float]:
    """Bytes of one process by part, and their `peak` (eq. 2). What learns is in float32."""
    full = work.rank is None
    learning = trained(shape, work.rank) * FLOAT / (work.shards if full else 1)
    kept = activations(shape, work.pass_tokens, full=full, checkpointing=work.checkpointing, width=numbers.kept)
    whole = numbers.weight * gathered(shape, work.shards)
    logits = LOGIT_COPIES * FLOAT * min(work.logits, work.pass_tokens * shape.head / shape.hidden)
    parts = {
        "process": float(numbers.process),
        "weights": work.models * shape.parameters * numbers.weight / work.shards,
        "adapters": 0.0 if full else float(work.adapters * learning),
        "moments": 2.0 * learning,
        "pass": numbers.heap * kept * work.views + logits + whole + (learning if work.several else 0),
        "gradients": float(learning),
        "decoding": decoding(shape, work, numbers),
    }
    held = sum(parts[name] for name in ("process", "weights", "adapters", "moments"))
    return parts | {"peak": held + max(parts[name] for name in ("pass", "gradients", "decoding"))}

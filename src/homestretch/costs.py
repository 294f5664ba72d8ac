"""Memory that a training stage needs at its peak: arithmetic on numbers of weights, layers and tokens. No torch.

    held  = process + models * weights + adapters + moments                                              (1)
    peak  = held + max(pass, gradients, decoding)                                                        (2)
    pass  = heap * kept * outputs * tokens + logits [+ gradients of earlier passes]                      (3)

`outputs` is the number of outputs of all linear layers of the model: what a layer keeps for the backward pass is about
as many times that in every architecture. With checkpointing it is one state a layer, and all of one layer at a time.
The constants are of float32 on a CPU, where they were measured.
"""

from __future__ import annotations

from dataclasses import dataclass

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
class Shape:
    """What decides the cost of a model: numbers of weights and layers, and the width of a state.

    `linear` weights of the linear layers without the vocabulary; `sides`: their inputs and outputs, r of which a LoRA
    adapter of rank r has weights for; `outputs`: their outputs; `key_values`: numbers that one token leaves in the
    cache.
    """

    parameters: int
    layers: int
    hidden: int
    is_encoder_decoder: bool
    linear: int
    sides: int
    outputs: int
    key_values: int


@dataclass(frozen=True)
class Work:
    """What a stage holds and does at a time.

    `rank` of the adapters, None where every weight learns; `models`: copies of the base weights; `adapters` on them;
    `pass_tokens` of a forward pass, of which an update has `several` or one; `views`: passes with gradients that are
    alive at one time; `rows` that decode together, each of `row_tokens`; `logits` of a chunk.
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


def trained(shape: Shape, rank: int | None) -> int:
    """Weights that learn: those of one LoRA adapter on all linear layers, or all."""
    return shape.parameters if rank is None else rank * shape.sides


def activations(shape: Shape, tokens: float, *, full: bool, checkpointing: bool) -> float:
    """Bytes that autograd keeps of a forward pass. A token goes through the encoder or the decoder, not both."""
    halves = 2 if shape.is_encoder_decoder else 1
    kept = (KEPT_FULL if full else KEPT_LORA) * shape.outputs / halves
    if checkpointing:
        kept = shape.hidden * shape.layers / halves + kept / max(shape.layers / halves, 1)
    return FLOAT * tokens * kept


def decoding(shape: Shape, rows: int, tokens: float) -> float:
    """Bytes of a merged copy of the linear layers, of packed copies of those and of the vocabulary's, and of the keys
    and values of the rows."""
    return FLOAT * (shape.linear + shape.parameters + rows * tokens * shape.key_values) if rows else 0.0


def memory(shape: Shape, work: Work) -> dict[str, float]:
    """Bytes by part, and their `peak` (eq. 2)."""
    full = work.rank is None
    learning = trained(shape, work.rank) * FLOAT
    passes = HEAP * activations(shape, work.pass_tokens, full=full, checkpointing=work.checkpointing) * work.views
    parts = {
        "process": float(PROCESS),
        "weights": float(work.models * shape.parameters * FLOAT),
        "adapters": 0.0 if full else float(work.adapters * learning),
        "moments": 2.0 * learning,
        "pass": passes + LOGIT_COPIES * work.logits * FLOAT + (learning if work.several else 0),
        "gradients": float(learning),
        "decoding": decoding(shape, work.rows, work.row_tokens),
    }
    held = sum(parts[name] for name in ("process", "weights", "adapters", "moments"))
    return parts | {"peak": held + max(parts[name] for name in ("pass", "gradients", "decoding"))}

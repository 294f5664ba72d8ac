"""What decides the cost of a model, and what it costs to read or to learn from a row."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """Numbers of weights and layers, and the width of a state.

    `linear` weights of the linear layers without the vocabulary, `head` those of the LM head; `sides`: inputs and
    outputs of the linear layers, r of which a LoRA adapter of rank r has weights for; `outputs`: their outputs;
    `key_values`: numbers that one token leaves in the cache.
    """

    parameters: int
    layers: int
    hidden: int
    is_encoder_decoder: bool
    linear: int
    head: int
    sides: int
    outputs: int
    key_values: int

    @property
    def halves(self) -> int:
        """2 where a token goes through the encoder or the decoder, not both."""
        return 2 if self.is_encoder_decoder else 1


@dataclass(frozen=True)
class Row:
    """Tokens of a typical row: an `answer` behind a `prompt` that `sharing` rows read together."""

    prompt: float
    answer: float
    sharing: float = 1

    @property
    def tokens(self) -> float:
        """Tokens that go through the model for one row."""
        return self.answer + self.prompt / self.sharing


def trained(shape: Shape, rank: int | None) -> int:
    """Weights that learn: those of one LoRA adapter on all linear layers, or all."""
    return shape.parameters if rank is None else rank * shape.sides

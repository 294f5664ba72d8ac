"""What decides the cost of a model, read from its configuration: no weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from homestretch.errors import InputError
from homestretch.policies.load import resolve


@dataclass(frozen=True)
class Shape:
    """Numbers of weights and layers, and the width of a state."""

    parameters: int
    layers: int
    hidden: int
    is_encoder_decoder: bool


def model_shape(name_or_path: str, *, revision: str | None = None) -> Shape:
    """The shape of a model by name or path. Raises InputError where there is no such model."""
    try:
        config = AutoConfig.from_pretrained(resolve(name_or_path), revision=revision)
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        with torch.device("meta"):
            lm = kind.from_config(config)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"The model `{name_or_path}` cannot be read: {str(error).splitlines()[0][:200]}") from None
    parameters = sum(p.numel() for p in lm.parameters())
    return Shape(parameters, config.num_hidden_layers, config.hidden_size, bool(config.is_encoder_decoder))

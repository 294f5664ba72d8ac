"""What decides the cost of a model, read from its configuration: no weights are loaded."""

from __future__ import annotations

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from homestretch.costs.shape import Shape
from homestretch.errors import InputError
from homestretch.policies.load import resolve


def model_shape(name_or_path: str, *, revision: str | None = None, trust_remote_code: bool = False) -> Shape:
    """The shape of a model by name or path. Raises InputError where there is no such model."""
    try:
        path = resolve(name_or_path)
        config = AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=trust_remote_code)
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        with torch.device("meta"):
            lm = kind.from_config(config, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"The model `{name_or_path}` cannot be read: {str(error).splitlines()[0][:200]}") from None
    return shape_of(lm)


def shape_of(lm: PreTrainedModel) -> Shape:
    """The shape of a model, whether its weights are there or not."""
    config = lm.config.get_text_config(decoder=True)
    head = lm.get_output_embeddings()
    layers = [m for m in lm.modules() if isinstance(m, torch.nn.Linear | Conv1D) and m is not head]
    linear = [m.weight for m in layers]
    outputs = [m.nf if isinstance(m, Conv1D) else m.out_features for m in layers]
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    encoder = getattr(config, "encoder_layers", None) or config.num_hidden_layers
    return Shape(
        parameters=sum(p.numel() for p in lm.parameters()),
        layers=config.num_hidden_layers + (encoder if lm.config.is_encoder_decoder else 0),
        hidden=config.hidden_size,
        is_encoder_decoder=bool(lm.config.is_encoder_decoder),
        linear=sum(w.numel() for w in linear),
        head=head.weight.numel(),
        sides=sum(sum(w.shape) for w in linear),
        outputs=sum(outputs),
        key_values=2 * heads * width * config.num_hidden_layers * (2 if lm.config.is_encoder_decoder else 1),
    )

"""How many tokens a model can read."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase


def room(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Tokens that the model reads at most, special ones included, if there is a limit.

    The positions of RoBERTa and its kin start behind the padding token's id: so many of them are never used.
    """
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            positions = module.num_embeddings - module.padding_idx - 1
    limits = [int(n) for n in (tokenizer.model_max_length, positions) if n is not None and n < 10**9]
    return min(limits, default=None)

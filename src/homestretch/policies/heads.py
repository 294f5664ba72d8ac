"""From hidden states to logits, values and rewards."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


class ScalarHead(nn.Module):
    """A linear map of a normalised hidden state to one number, computed in float32.

    States are scaled to zero mean and unit variance first: their size differs between architectures by two orders of
    magnitude, and a head with one step size for all of them would crawl on some and leap on others. `zero=True`
    starts at the constant 0, which a value head wants: the first advantages are then the returns. Otherwise weights
    are normal with standard deviation 0.01, so that first outputs are small.
    """

    def __init__(self, hidden_size: int, *, zero: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, 1)
        nn.init.zeros_(self.linear.bias)
        if zero:
            nn.init.zeros_(self.linear.weight)
        else:
            nn.init.normal_(self.linear.weight, std=0.01)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., D) -> (...)"""
        with torch.autocast(hidden.device.type, enabled=False):
            return self.linear(nn.functional.layer_norm(hidden.float(), hidden.shape[-1:])).squeeze(-1)


def lm_head(lm: PreTrainedModel) -> Callable[[Tensor], Tensor]:
    """The map (n, D) -> (n, V) that turns last hidden states of `lm` into its logits.

    It repeats what the architectures do around the output embedding: scaling before it (T5), a bias after it
    (BART), scaling (Granite, Cohere) and soft-capping (Gemma) of the logits. `check_lm_head` compares it with the
    model itself.
    """
    config, output = lm.config.get_text_config(decoder=True), lm.get_output_embeddings()
    scale_in = config.d_model**-0.5 if getattr(config, "scale_decoder_outputs", False) else 1.0
    bias = getattr(lm, "final_logits_bias", None)
    scale_out = getattr(config, "logit_scale", None) or 1.0 / (getattr(config, "logits_scaling", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None)

    def logits(hidden: Tensor) -> Tensor:
        out = output(hidden * scale_in if scale_in != 1.0 else hidden)
        if bias is not None:
            out = out + bias
        if scale_out != 1.0:
            out = out * scale_out
        return torch.tanh(out / cap) * cap if cap else out

    return logits

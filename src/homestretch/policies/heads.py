"""From hidden states to logits, values and rewards."""

from __future__ import annotations

import math
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


class PooledValueHead(nn.Module):
    """V of a prompt from its hidden states: one learned query attends to all of them, and a sigmoid scales the result
    to (0, `r_max`)  (Baheti et al. 2024, arXiv:2305.14718; sheet 2.4). Float32.

    States are normalised first, as for `ScalarHead`. Padding is not attended to, so V does not depend on it. Dropout
    acts in training mode alone.
    """

    HEADS, DROPOUT = 8, 0.1

    def __init__(self, hidden_size: int, *, r_max: float) -> None:
        super().__init__()
        self.r_max = r_max
        self.query_D = nn.Parameter(torch.randn(hidden_size))
        self.attention = nn.MultiheadAttention(hidden_size, math.gcd(self.HEADS, hidden_size), batch_first=True)
        self.dropout = nn.Dropout(self.DROPOUT)
        self.linear = nn.Linear(hidden_size, 1)
        nn.init.normal_(self.linear.weight, std=0.01)

    def start_at(self, value: float) -> None:
        """Make the first values lie near this one, which must be inside (0, r_max)."""
        nn.init.constant_(self.linear.bias, math.log(value / (self.r_max - value)))

    def forward(self, hidden_BPD: Tensor, mask_BP: Tensor) -> Tensor:
        """(B, P, D) states and their mask (B, P) -> (B,)"""
        with torch.autocast(hidden_BPD.device.type, enabled=False):
            states_BPD = nn.functional.layer_norm(hidden_BPD.float(), hidden_BPD.shape[-1:])
            states_BPD = self.dropout(states_BPD)
            query_B1D = self.query_D.expand(len(states_BPD), 1, -1)
            padding_BP = ~mask_BP.bool()
            pooled_B1D, _ = self.attention(
                query_B1D, states_BPD, states_BPD, key_padding_mask=padding_BP, need_weights=False
            )
            return self.r_max * self.linear(self.dropout(pooled_B1D)).flatten().sigmoid()


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

"""Log-probabilities of tokens and other numbers made of logits, without ever keeping a (rows, vocabulary) tensor.

    logp_k = z_k - lse(z),      lse(z) = ln sum_v exp(z_v)                                               (1)
    H      = lse(z) - sum_v p_v z_v,      p_v = exp(z_v - lse(z))                                        (2)

z are the logits of one row. Eq. 1 needs one number a row besides the gathered logits, where a log-softmax would need a
second tensor as large as the logits. Rows are cut into chunks; where gradients are recorded, each chunk is recomputed
in the backward pass, so that the logits of at most one chunk are alive at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Head = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class OfLogits:
    """A number for each response token, made of the logits (n, V) that predict it: `function(logits_nV, *columns_n)`
    gives (n,). `columns` are (B, T) or (B, T, ...); `function` gets their rows of n tokens, and is run again for the
    gradient."""

    function: Callable[..., Tensor]
    columns: tuple[Tensor, ...] = ()

    def of_rows(self, rows: Sequence[int], width: int) -> OfLogits:
        """The same for some rows of the batch, without the columns of tokens behind `width`."""
        return OfLogits(self.function, tuple(column[rows, :width] for column in self.columns))


def in_chunks(function: Callable[..., Any], *tensors: Tensor, chunk_rows: int) -> list[Any]:
    """What `function` makes of each `chunk_rows` rows of the tensors, which have N each; for N = 0, of no rows.

    Where gradients are recorded, a chunk is computed again in the backward pass, so that what is made on the way is
    alive for one chunk at a time; `function` must be deterministic.
    """
    starts = range(0, max(len(tensors[0]), 1), chunk_rows)
    pieces = [[tensor[start : start + chunk_rows] for tensor in tensors] for start in starts]
    return [checkpoint(function, *some, use_reentrant=False, preserve_rng_state=False) for some in pieces]


def chunked_logprobs(
    hidden_ND: Tensor, head: Head, ids_NK: Tensor, *, chunk_rows: int, entropy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities (nats, <= 0) of tokens given the hidden states that predict them, and the rows' entropies.

    hidden_ND   (N, D) states, of any float type; N may be 0
    head        maps (n, D) states to (n, V) logits; must be deterministic, because it is run again for the gradient
    ids_NK      (N,) or (N, K) token ids in [0, V)
    chunk_rows  rows whose logits exist at one time, >= 1; changes memory and speed, never the result
    entropy     whether to return eq. 2

    Returns log-probabilities in the shape of `ids_NK`, and entropies (N,) in [0, ln V] or None. Both are float32
    (float64 for float64 logits), whatever the type of the states. Logits of minus infinity are allowed.
    """
    parts = in_chunks(partial(_chunk, head, entropy), hidden_ND, ids_NK, chunk_rows=chunk_rows)
    logp_NK = torch.cat([logp for logp, _ in parts])
    return logp_NK, torch.cat([h for _, h in parts]) if entropy else None


def chunked_terms(
    hidden_ND: Tensor, head: Head, function: Callable[..., Tensor], columns: Sequence[Tensor], *, chunk_rows: int
) -> Tensor:
    """What `function(logits_nV, *columns_n)` makes of each state (N,); `columns` have N rows each, and the other
    arguments are those of `chunked_logprobs`."""

    def chunk(states_nD: Tensor, *columns_n: Tensor) -> Tensor:
        return function(head(states_nD), *columns_n)

    return torch.cat(in_chunks(chunk, hidden_ND, *columns, chunk_rows=chunk_rows))


@torch.no_grad()
def chunked_greedy(hidden_ND: Tensor, head: Head, *, chunk_rows: int) -> Tensor:
    """The most probable token (N,) after each of the states; arguments as in `chunked_logprobs`."""
    return torch.cat([head(states_nD).argmax(-1) for states_nD in torch.split(hidden_ND, chunk_rows)])


def _chunk(head: Head, entropy: bool, states_nD: Tensor, ids_nK: Tensor) -> tuple[Tensor, Tensor | None]:
    logits_nV = head(states_nD)
    logits_nV = logits_nV.to(torch.promote_types(logits_nV.dtype, torch.float32))
    lse_n1 = logits_nV.logsumexp(-1, keepdim=True)
    columns_nK = ids_nK if ids_nK.dim() == 2 else ids_nK[:, None]
    logp_nK = (logits_nV.gather(-1, columns_nK) - lse_n1).reshape(ids_nK.shape)  # eq. 1
    if not entropy:
        return logp_nK, None
    prob_nV = (logits_nV - lse_n1).exp()
    # 0 * -inf is not a number; the lowest finite logit has the same probability, zero
    finite_nV = logits_nV.clamp(min=torch.finfo(logits_nV.dtype).min)
    return logp_nK, lse_n1.squeeze(-1) - (prob_nV * finite_nV).sum(-1)  # eq. 2

"""How far a student's next-token law q lies from a teacher's p, over one vocabulary  (sheet 2.2)

    forward_kl   KL(p || q) = sum_v p_v ln(p_v / q_v)                                                    (1)
    reverse_kl   KL(q || p)                                                                              (2)
    jeffreys     KL(p || q) + KL(q || p)                                                                 (3)
    jsd          beta KL(p || m) + (1 - beta) KL(q || m),      m = beta p + (1 - beta) q                 (4)
    top k        sum_{v in K} p_v ln(p_v / q_v) + p' ln(p' / q'),      p' = 1 - sum_{v in K} p_v         (5)

Eq. 4 lies in [0, ln 2] and vanishes at both ends of beta, but divided by beta it goes to eq. 1 for beta to 0, and
divided by 1 - beta to eq. 2 for beta to 1: beta 0 and 1 are those (Agarwal et al., ICLR 2024, arXiv:2306.13649).
Eq. 5 takes all tokens outside the teacher's k best for one, and is at most eq. 1. There is no such form of the others:
a student can lower it by what it does outside of K alone, which nobody looks at.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["forward_kl", "reverse_kl", "jeffreys", "jsd"]


def log_law(logits_NV: Tensor) -> Tensor:
    """Log-probabilities (N, V) of logits, nats, <= 0, float32 (float64 for float64 logits)."""
    return logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32)).log_softmax(-1)


def kl(logp_NV: Tensor, logq_NV: Tensor) -> Tensor:
    """KL(p || q) (N,) of log-probabilities (N, V), nats, >= 0 but for rounding; with gradient in both.

    A token that p excludes (minus infinity) counts 0. Infinite where q excludes one that p does not.
    """
    p_NV = logp_NV.exp()
    # 0 ln 0 is 0, where the product of 0 and an infinite logarithm would be no number
    log_ratio_NV = torch.where(p_NV > 0, logp_NV - logq_NV, 0.0)
    return (p_NV * log_ratio_NV).sum(-1)


def jsd(logp_NV: Tensor, logq_NV: Tensor, *, beta: float) -> Tensor:
    """Eq. 4 (N,), or the divergences that it goes to for beta 0 and 1; finite for every beta between."""
    if beta == 0:
        return kl(logp_NV, logq_NV)
    if beta == 1:
        return kl(logq_NV, logp_NV)
    # two infinite logarithms have no mean with a gradient; the lowest finite one has the same probability, zero
    lowest = torch.finfo(logp_NV.dtype).min / 2
    logp_NV, logq_NV = logp_NV.clamp(min=lowest), logq_NV.clamp(min=lowest)
    logm_NV = torch.logaddexp(logp_NV + math.log(beta), logq_NV + math.log1p(-beta))
    return beta * kl(logp_NV, logm_NV) + (1 - beta) * kl(logq_NV, logm_NV)


def divergence(logp_NV: Tensor, logq_NV: Tensor, *, kind: Kind, beta: float = 0.5) -> Tensor:
    """Eq. 1, 2, 3 or 4 for each row (N,), nats.

    logp_NV   (N, V) log-probabilities of the teacher
    logq_NV   (N, V) those of the student
    beta      in [0, 1], of `jsd` alone
    """
    if kind == "jsd":
        return jsd(logp_NV, logq_NV, beta=beta)
    if kind == "jeffreys":
        return kl(logp_NV, logq_NV) + kl(logq_NV, logp_NV)
    return kl(logp_NV, logq_NV) if kind == "forward_kl" else kl(logq_NV, logp_NV)


def top_k_law(logits_NV: Tensor, *, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The k best tokens (N, k), their log-probabilities (N, k), and that of all others together (N,); k < V."""
    logp_NV = log_law(logits_NV)
    logp_NK, ids_NK = logp_NV.topk(k)
    return ids_NK, logp_NK, others(logp_NV, ids_NK)


def others(logp_NV: Tensor, ids_NK: Tensor) -> Tensor:
    """Log-probability (N,) of all tokens but these together: a sum, as 1 minus the rest would be lost in rounding."""
    return logp_NV.scatter(-1, ids_NK, -torch.inf).logsumexp(-1)


def top_k_forward_kl(logits_NV: Tensor, ids_NK: Tensor, logp_NK: Tensor, logp_others_N: Tensor) -> Tensor:
    """Eq. 5 (N,) of the student's logits (N, V) and a teacher's law as `top_k_law` gives it."""
    logq_NV = log_law(logits_NV)
    teacher = torch.cat([logp_NK, logp_others_N[:, None]], -1)
    student = torch.cat([logq_NV.gather(-1, ids_NK), others(logq_NV, ids_NK)[:, None]], -1)
    return kl(teacher, student)

"""Estimators of KL(pi || pi_ref) from one token sampled from pi  (Schulman, 2020, "Approximating KL divergence")

    k1 = ln pi(y) - ln pi_ref(y)                       unbiased, either sign                             (1)
    k3 = pi_ref(y)/pi(y) - 1 - ln(pi_ref(y)/pi(y))     unbiased, never negative, less noisy near 0       (2)

The names count the estimators of the source; its k2, (k1)^2 / 2, is biased and not offered.
"""

from __future__ import annotations

from torch import Tensor


def kl_k1(logp: Tensor, logp_ref: Tensor) -> Tensor:
    """Eq. 1 for each token, in nats. `logp` is of the policy that sampled the tokens; both of one shape, <= 0."""
    return logp - logp_ref


def kl_k3(logp: Tensor, logp_ref: Tensor) -> Tensor:
    """Eq. 2 for each token, in nats, >= 0. `logp` is of the policy that sampled the tokens; both of one shape, <= 0."""
    log_ratio = logp_ref - logp
    return log_ratio.expm1() - log_ratio

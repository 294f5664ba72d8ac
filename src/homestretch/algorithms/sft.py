"""Supervised fine-tuning: maximum likelihood on reference completions.

    L = -(1/M) sum_b sum_t m_bt ln p(y_t | x, y_<t),      M = sum m                                      (1)

Notation    y: reference tokens, end marker included    m: 1 on them, 0 on prompt and padding
Averaging   over the tokens of the whole optimiser batch (sheet 2.7)
"""

from __future__ import annotations

import torch
from torch import Tensor

from homestretch.algorithms.base import Models, Offline
from homestretch.batch import LossTerms, SequenceBatch


def nll_loss(logp_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Negative log-likelihood of each token (B, T), nats, >= 0; 0 where the mask is 0 (eq. 1 before averaging)."""
    return -torch.where(mask_BT.bool(), logp_BT, 0.0)


class SFT(Offline):
    """Maximum likelihood."""

    needs = frozenset({"pairs"})

    def loss(self, models: Models, batch: SequenceBatch) -> LossTerms:
        """Eq. 1 on one batch."""
        scored = models.policy.score(batch, want={"logp", "entropy"})
        assert scored.logp_BT is not None and scored.entropy_BT is not None
        diagnostics = {"entropy": (scored.entropy_BT.detach(), batch.mask_BT)}
        return LossTerms(terms=nll_loss(scored.logp_BT, batch.mask_BT), mask=batch.mask_BT, diagnostics=diagnostics)

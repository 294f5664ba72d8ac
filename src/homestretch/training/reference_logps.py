"""Log-probabilities of stored text under the model as it is before a stage trains it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from homestretch.config.training import TrainingConfig
from homestretch.data.collate import collate
from homestretch.data.tokenize import TokenizedExample
from homestretch.policies.policy import Policy
from homestretch.progress import progress
from homestretch.rewards.cache import content_key
from homestretch.training.context import Context
from homestretch.training.precomputed import once

ROWS = 512
"""Rows that are padded to one width at a time."""


def reference_logps(
    context: Context,
    config: TrainingConfig,
    reference: Policy,
    rows: Sequence[TokenizedExample],
    folder: Path,
    *,
    model: str | None = None,
) -> list[Tensor]:
    """Each row's log-probabilities (nats, <= 0), one for each response token, float32 on the CPU; computed once.

    `reference` is the run's current model, or `model`. Another method of a comparison that asks the same of it gets the
    same numbers.
    """
    texts = [(row.prompt_ids, row.completion_ids) for row in rows]
    key = content_key(context.model_key(model or context.model), context.arithmetic(config), texts)
    flat_N = once(folder, lambda: {"logp": _flat(reference, rows)}, key=key, others=context.others)["logp"]
    return list(flat_N.split([len(row.completion_ids) for row in rows]))


def padded(rows: Sequence[Tensor], width: int) -> Tensor:
    """(B, width) with 0 behind each row."""
    return torch.stack([torch.nn.functional.pad(row, (0, width - len(row))) for row in rows])


@torch.no_grad()
def _flat(reference: Policy, rows: Sequence[TokenizedExample]) -> Tensor:
    parts = []
    with progress(len(rows), "reference log-probabilities", "row") as bar:
        for at in range(0, len(rows), ROWS):
            batch = collate(rows[at : at + ROWS])
            logp_BT = reference.score(batch, want={"logp"}).logp_BT
            assert logp_BT is not None
            parts.append(logp_BT.float().cpu()[batch.mask_BT.bool()])
            bar.advance(len(batch))
    return torch.cat(parts)

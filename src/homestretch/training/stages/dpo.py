"""Stage `dpo`: learn from pairs of a better and a worse response, those of the data or the run's negatives."""

from __future__ import annotations

from pathlib import Path

from homestretch.algorithms.dpo import DPO
from homestretch.config.dpo import DPOConfig
from homestretch.training.context import Context
from homestretch.training.loop import Progress
from homestretch.training.stages.objectives import known_objectives
from homestretch.training.stages.pairs import train_on_pairs


def run(context: Context, config: DPOConfig, folder: Path) -> Progress:
    """Train the current model on pairs, keep the best checkpoint, and save its model."""
    if not config.rewards:
        return train_on_pairs(context, config, folder, DPO(config))
    return train_on_pairs(context, config, folder, DPO(config), known=known_objectives(context, config, folder))

"""Stage `modpo`: learn from pairs that one objective has ordered, and from rewards of the others."""

from __future__ import annotations

from pathlib import Path

from homestretch.algorithms.modpo import MODPO
from homestretch.config.modpo import MODPOConfig
from homestretch.training.context import Context
from homestretch.training.loop import Progress
from homestretch.training.stages.objectives import known_objectives
from homestretch.training.stages.pairs import train_on_pairs


def run(context: Context, config: MODPOConfig, folder: Path) -> Progress:
    """Train the current model on pairs and rewards, keep the best checkpoint, and save its model."""
    return train_on_pairs(context, config, folder, MODPO(config), known=known_objectives(context, config, folder))

"""Stage `modpo`: learn from pairs that one objective has ordered, and from rewards of the others."""

from __future__ import annotations

from pathlib import Path

from homestretch.algorithms.modpo import MODPO
from homestretch.config.modpo import LOW_WEIGHT, MODPOConfig
from homestretch.progress import say
from homestretch.training.context import Context
from homestretch.training.loop import Progress
from homestretch.training.stages.objectives import known_objectives
from homestretch.training.stages.pairs import train_on_pairs


def run(context: Context, config: MODPOConfig, folder: Path) -> Progress:
    """Train the current model on pairs and rewards, keep the best checkpoint, and save its model."""
    if config.weight < LOW_WEIGHT:
        times = 1 / config.weight
        say(
            f"modpo: the loss divides by the weight {config.weight:g}, which makes its argument {times:,.0f} times as "
            f"large; where steps are unsteady take {LOW_WEIGHT:g} or more, or lower modpo.learning_rate."
        )
    return train_on_pairs(context, config, folder, MODPO(config), known=known_objectives(context, config, folder))

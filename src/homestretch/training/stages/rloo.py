"""Stage `rloo`: policy gradient with the other samples of a prompt as the baseline."""

from __future__ import annotations

from pathlib import Path

from homestretch.algorithms.rloo import RLOO
from homestretch.config.rloo import RLOOConfig
from homestretch.training.context import Context
from homestretch.training.loop import Progress
from homestretch.training.online_stage import train_online


def run(context: Context, config: RLOOConfig, folder: Path) -> Progress:
    """Train, keep the best checkpoint, and make its model the run's current one."""
    return train_online(context, config, folder, RLOO(config))

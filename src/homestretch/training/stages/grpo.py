"""Stage `grpo`: clipped policy gradient with rewards normalised within each prompt's samples."""

from __future__ import annotations

from pathlib import Path

from homestretch.algorithms.grpo import GRPO
from homestretch.config.grpo import GRPOConfig
from homestretch.training.context import Context
from homestretch.training.loop import Progress
from homestretch.training.online_stage import train_online


def run(context: Context, config: GRPOConfig, folder: Path) -> Progress:
    """Train, keep the best checkpoint, and make its model the run's current one."""
    return train_online(context, config, folder, GRPO(config))

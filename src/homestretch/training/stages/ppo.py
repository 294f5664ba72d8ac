"""Stage `ppo`: reinforcement learning from the current model against a reward with a length term."""

from __future__ import annotations

from pathlib import Path

from homestretch.algorithms.ppo import PPO
from homestretch.config.ppo import PPOConfig
from homestretch.training.context import Context
from homestretch.training.loop import Progress
from homestretch.training.online_stage import train_online


def run(context: Context, config: PPOConfig, folder: Path) -> Progress:
    """Train, keep the best checkpoint, and make its model the run's current one."""
    return train_online(context, config, folder, PPO(config), head="value")

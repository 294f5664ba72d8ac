"""The steps of a run: `run(context, config, folder)` of a module reads what came before and fills its folder.

A module is loaded when it is run: some bring statistics or plotting libraries along, which take seconds to import.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

MODULES = {
    "sft": "likelihood",
    "ift": "likelihood",
    "negatives": "negatives",
    "reward": "reward",
    "wbc": "weighted",
    "gold": "weighted",
    "value": "value",
    "alol": "alol",
    "dpo": "dpo",
    "modpo": "modpo",
    "ppo": "ppo",
    "rloo": "rloo",
    "grpo": "grpo",
    "distill": "distill",
    "soup": "soup",
    "best_of": "best_of",
    "evaluate": "evaluate",
    "report": "report",
}
"""The module of each kind, below this package."""


def stage_function(kind: str) -> Callable[..., Any]:
    """`run(context, config, folder)` of a kind of stage, which gives the training's Progress if it trains."""
    return import_module(f"{__name__}.{MODULES[kind]}").run

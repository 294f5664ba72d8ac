"""The table of stages: name -> settings class. A stage is a line here and an entry in the pipeline's table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from homestretch.config.alol import ALOLConfig
from homestretch.config.base import Config, Where, nearest
from homestretch.config.best_of import BestOfConfig
from homestretch.config.distill import DistillConfig
from homestretch.config.dpo import DPOConfig
from homestretch.config.evaluate import EvaluateConfig, ReportConfig
from homestretch.config.gold import GOLDConfig
from homestretch.config.grpo import GRPOConfig
from homestretch.config.ift import IFTConfig
from homestretch.config.modpo import MODPOConfig
from homestretch.config.negatives import NegativesConfig
from homestretch.config.ppo import PPOConfig
from homestretch.config.reward import RewardConfig
from homestretch.config.rloo import RLOOConfig
from homestretch.config.sft import SFTConfig
from homestretch.config.soup import SoupConfig
from homestretch.config.value import ValueConfig
from homestretch.config.wbc import WBCConfig
from homestretch.errors import RecipeError

STAGES: dict[str, type[Config]] = {
    "sft": SFTConfig,
    "ift": IFTConfig,
    "negatives": NegativesConfig,
    "reward": RewardConfig,
    "wbc": WBCConfig,
    "gold": GOLDConfig,
    "value": ValueConfig,
    "alol": ALOLConfig,
    "dpo": DPOConfig,
    "modpo": MODPOConfig,
    "ppo": PPOConfig,
    "rloo": RLOOConfig,
    "grpo": GRPOConfig,
    "distill": DistillConfig,
    "soup": SoupConfig,
    "best_of": BestOfConfig,
    "evaluate": EvaluateConfig,
    "report": ReportConfig,
}

TRAINS_POLICY = tuple(kind for kind, settings in STAGES.items() if settings.trains_policy)
"""Stages after which the run has another model, or answers with it in another way."""

LIKELIHOOD = ("sft", "ift")
"""Stages whose model may be the arm `ml`, which others are compared with; the first that there is."""

OF_ONE_MODEL = {"value"}
"""Stages whose result is about the model before them, and is no use behind the next one that trains it."""

NEEDS: dict[str, tuple[str, ...]] = {
    "reward": ("negatives",),
    "value": ("reward",),
    "alol": ("value",),
    "ppo": ("reward",),
    "rloo": ("reward",),
    "grpo": ("reward",),
    "evaluate": TRAINS_POLICY,
    "report": ("evaluate",),
}
"""What must have run before a stage, unless its settings stand alone: one of the named stages."""

COLUMNS: dict[str, tuple[str, str]] = {
    "wbc": ("reward", "reward"),
    "gold": ("reward", "reward"),
    "value": ("reward", "reward"),
    "alol": ("reward", "reward"),
    "dpo": ("rejected", "negatives"),
    "modpo": ("rejected", "negatives"),
}
"""What a stage reads of every training row, and the stage that can make it: column, kind."""


def stage_kind(name: str) -> str:
    """`ppo` of `ppo` and of `ppo-again`: a suffix tells two stages of one kind apart."""
    return name.split("-", 1)[0]


def kind_of(config: Config) -> str:
    """The kind of stage that these settings belong to."""
    return next(kind for kind, settings in STAGES.items() if type(config) is settings)


def parse_stage(name: str, settings: Any, *, where: Where) -> Config:
    """Settings of the stage `name` from plain values; None means its defaults. Raises RecipeError."""
    place = where if isinstance(where, str) else where(())
    kind = stage_kind(name)
    if kind not in STAGES:
        raise RecipeError(f"{place}: unknown stage `{name}`; {nearest(kind, list(STAGES))}")
    if settings is None:
        settings = {}
    if isinstance(settings, STAGES[kind]):
        return settings
    if not isinstance(settings, dict):
        raise RecipeError(f"{place}: `{name}` has {settings!r} where settings belong; write `{name}: {{key: value}}`.")
    return STAGES[kind].parse(settings, where=where)


def order_problem(stages: Sequence[tuple[str, Config]], given: set[str]) -> tuple[int, str] | None:
    """Index and sentence of the first stage, of names and settings, that cannot stand where it does. `given`: kinds
    that come from outside."""
    names, before = [name for name, _ in stages], set(given)
    for index, (name, config) in enumerate(stages):
        if name in names[:index]:
            return index, f"the stage `{name}` stands twice; call the second one `{name}-2`."
        kind = stage_kind(name)
        needs = () if config.stands_alone else NEEDS.get(kind, ())
        if needs and not before & set(needs):
            wanted = " or ".join(f"`{n}`" for n in needs)
            outside = ", or set `reward_model_name_or_path`" if "reward" in needs else ""
            return index, f"the stage `{name}` needs {wanted} before it; add the stage{outside}."
        before = (before - OF_ONE_MODEL if kind in TRAINS_POLICY else before) | {kind}
    return None

"""homestretch takes a language model the last mile: better at your task than fine-tuning makes it, from pairs alone.

    import homestretch
    run = homestretch.run("pairs.jsonl", model="HuggingFaceTB/SmolLM2-135M-Instruct", out="runs/mine")
    print(run.report)

Importing this package loads neither torch nor anything else that is heavy; a part is imported when it is first named.
"""

from __future__ import annotations

import importlib
from typing import Any

from homestretch.version import __version__ as __version__

_HOME = {
    "CheckpointError": "errors",
    "Compared": "compared",
    "DataError": "errors",
    "EvaluateConfig": "config.evaluate",
    "Example": "data.records",
    "Hacking": "lab",
    "HomestretchError": "errors",
    "InputError": "errors",
    "MissingDependency": "errors",
    "NegativesConfig": "config.negatives",
    "Ordered": "ordered",
    "PPOConfig": "config.ppo",
    "Policy": "policies.policy",
    "Recipe": "config.recipe",
    "RecipeError": "errors",
    "ReportConfig": "config.evaluate",
    "Results": "results",
    "RewardConfig": "config.reward",
    "RewardModel": "rewards.model",
    "RunFolder": "results",
    "SFTConfig": "config.sft",
    "STAGES": "config.stages",
    "Splits": "data.sources",
    "TrainingDiverged": "errors",
    "Trunk": "policies.trunk",
    "audit": "verbs.audit",
    "compare": "verbs.compare",
    "compare_rewards": "verbs.ordering",
    "front": "verbs.front",
    "doctor": "verbs.doctor",
    "dump_recipe": "config.recipe",
    "evaluate_rows": "evaluate",
    "explain_features": "verbs.ordering",
    "failure_rates": "metrics.failures",
    "failures": "metrics.failures",
    "find_filter": "verbs.goal",
    "fit_features": "verbs.features",
    "fit_reward": "verbs.reward",
    "generate": "verbs.generate",
    "load_data": "data.sources",
    "load_recipe": "config.recipe",
    "load_reward": "rewards.model",
    "load_tokenizer": "policies.load",
    "load_trunk": "policies.load",
    "make_goal": "verbs.goal",
    "make_negatives": "verbs.negatives",
    "measure": "verbs.measure",
    "quickstart": "verbs.run",
    "run": "verbs.run",
    "soup": "verbs.soup",
    "teacher_hacking": "verbs.lab",
    "token_values": "verbs.goal",
    "score_rows": "verbs.reward",
    "train": "verbs.run",
    "write_report": "report.page",
}
_RENAMED = {"dump_recipe": "dump", "load_data": "load"}

__all__ = [
    "STAGES",
    "CheckpointError",
    "Compared",
    "DataError",
    "EvaluateConfig",
    "Example",
    "Hacking",
    "HomestretchError",
    "InputError",
    "MissingDependency",
    "NegativesConfig",
    "Ordered",
    "PPOConfig",
    "Policy",
    "Recipe",
    "RecipeError",
    "ReportConfig",
    "Results",
    "RewardConfig",
    "RewardModel",
    "RunFolder",
    "SFTConfig",
    "Splits",
    "TrainingDiverged",
    "Trunk",
    "audit",
    "compare",
    "compare_rewards",
    "doctor",
    "dump_recipe",
    "evaluate_rows",
    "explain_features",
    "failure_rates",
    "failures",
    "find_filter",
    "fit_features",
    "fit_reward",
    "front",
    "generate",
    "load_data",
    "load_recipe",
    "load_reward",
    "load_tokenizer",
    "load_trunk",
    "make_goal",
    "make_negatives",
    "measure",
    "quickstart",
    "run",
    "score_rows",
    "soup",
    "teacher_hacking",
    "token_values",
    "train",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module `homestretch` has no `{name}`")
    value = getattr(importlib.import_module(f"homestretch.{_HOME[name]}"), _RENAMED.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])

"""What the name of a logged quantity says: which way it gets better, and what chance does to a few validations."""

from __future__ import annotations

from collections.abc import Collection

from homestretch.config.base import nearest
from homestretch.errors import RecipeError

SHARES = ("failures", "unfinished", "empty")
"""Shares of a validation's outputs."""
SMALLER_IS_BETTER = {"nll", "loss", "mse", "divergence", *SHARES, "golden", "golden_jsd", "proxy", "proxy_jsd"}
"""What should fall; of a validation, the checkpoint with the least is kept where one of them chooses it."""
CHANCE = {**dict.fromkeys(("rougeL", "la_rougeL"), 2.0), **dict.fromkeys(SHARES, 0.1), "nll": 0.02, "auroc": 0.03}
"""What a few validations of 64 prompts may show by chance, in the unit of each: ROUGE runs from 0 to 100."""


def direction(key: str) -> float:
    """1 where more of a quantity is better and -1 where less is, by its key with or without `eval/`."""
    return -1.0 if _name(key) in SMALLER_IS_BETTER else 1.0


def least(key: str) -> float:
    """The change of a quantity, in its own unit, that a few evaluations may show by chance; 0 where nobody knows."""
    return CHANCE.get(_name(key), 0.0)


def check_chooser(stage: str, name: str, measured: Collection[str]) -> None:
    """Raise RecipeError where a validation of a stage measures something, and not what is to choose the checkpoint."""
    known = [*measured, "none"]
    if measured and name not in known:
        raise RecipeError(
            f"{stage}.metric_for_best_model: `{name}` is not measured when this stage is validated, so that it can "
            f"choose no checkpoint; {nearest(name, known)}"
        )


def _name(key: str) -> str:
    return key.removeprefix("eval/").partition("/")[0]  # `eval/auroc/MODE` is one of `auroc`

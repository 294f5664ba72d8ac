"""A setting that nothing reads is refused, and its default is not: a resolved recipe writes every one."""

from __future__ import annotations

from typing import Any

import pytest

from homestretch.config.recipe import dump, load_recipe
from homestretch.config.stages import STAGES
from homestretch.errors import RecipeError

VARIANTS = ("a_lol", "a_lol_seq", "a_lol_ref_free", "r_lol")
UNREAD: list[tuple[str, dict[str, Any], str]] = [
    *(("alol", {"variant": variant, "beta": 0.3}, "beta") for variant in VARIANTS),
    ("ppo", {"lookahead_k": 2, "whiten": False}, "whiten"),
    ("ppo", {"lookahead_baseline": "set"}, "lookahead_baseline"),
    *(("ppo", {"kl": kl, "kl_target": 3.0}, "kl_target") for kl in ("fixed", "off")),
    *(("ppo", {"kl": kl, "kl_horizon": 100}, "kl_horizon") for kl in ("fixed", "off")),
    ("ift", {"lam_start": 0.1}, "lam_start"),
    ("value", {"lora_r": 4}, "lora_r"),
    ("distill", {"teacher_name_or_path": "t", "beta": 0.3}, "beta"),
]
READ: list[tuple[str, dict[str, Any]]] = [
    ("alol", {"variant": "a_lol_kl", "beta": 0.3}),
    ("ppo", {"whiten": False}),
    ("ppo", {"lookahead_k": 2, "lookahead_baseline": "set"}),
    ("ppo", {"kl": "adaptive", "kl_target": 3.0, "kl_horizon": 100}),
]
QUIET = [("alol", {"variant": "r_lol"}), ("ppo", {"lookahead_k": 2}), ("ppo", {"kl": "off"}), ("ppo", {})]


@pytest.mark.parametrize(("stage", "settings", "name"), UNREAD)
def test_a_setting_that_nothing_reads_is_refused(stage: str, settings: dict[str, Any], name: str) -> None:
    with pytest.raises(RecipeError, match=f"^here: `{name}` .*; (remove it|set that, or remove it)\\.$"):
        STAGES[stage].parse(settings, where="here")


@pytest.mark.parametrize(("stage", "settings"), [*READ, *QUIET])
def test_what_is_read_is_taken_and_every_resolved_recipe_too(
    stage: str, settings: dict[str, Any], tmp_path: Any
) -> None:
    recipe = load_recipe(
        {"reward_model_name_or_path": "r", "stages": [*(["value"] * (stage == "alol")), {stage: settings}]}
    )
    file = tmp_path / "resolved.yaml"
    file.write_text(dump(recipe))
    assert load_recipe(file) == recipe

"""The model card says what this recipe has done, and of preferences only what it can know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import LlamaConfig

from homestretch.config.recipe import load_recipe
from homestretch.data.records import example_from_row
from homestretch.data.sources import Splits
from homestretch.results import RunFolder
from homestretch.training.card import write_card
from homestretch.training.context import Context

UNLABELLED = "No human preference labels were used."
RLOO = ["sft", "negatives", "reward", "rloo", "evaluate"]


def card(folder: Path, stages: list[Any], columns: dict[str, Any] | None = None, **more: Any) -> str:
    """The text of the card of a run with these stages, on rows with these columns."""
    rows = [example_from_row({"prompt": "Say it.", "completion": " It.", **(columns or {})}, where="rows:1")]
    run = RunFolder(folder / "mine")
    run.model.mkdir(parents=True)
    context = Context(
        load_recipe({"stages": stages, **more}), run, Splits(rows, [], [], "One pair."), "x", torch.device("cpu")
    )
    context.__dict__["config"] = LlamaConfig()
    write_card(context)
    return (run.model / "README.md").read_text(encoding="utf-8")


def test_the_method_is_the_stages_in_their_order(tmp_path: Path) -> None:
    text = card(tmp_path, ["sft", "negatives", {"dpo-a": {"beta": 0.3}}, "evaluate", "report"], seed=7)
    assert "**Method.** The stages, in order: `sft`, `negatives`, `dpo-a`. Seed 7;" in text
    assert "einforcement" not in text and "reward model" not in text
    assert "tags: [homestretch, sft, dpo]" in text


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("org/small-1.7b", "org/small-1.7b"),
        ("123", "123"),
        ("builtin/smollm2-135m", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("models/mine", None),
        ("/data/models/mine", None),
        ("./mine", None),
        ("runs/mine/model", None),
    ],
)
def test_the_base_model_is_named_where_the_hub_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, base: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models/mine").mkdir(parents=True)
    text = card(tmp_path, ["sft"], model_name_or_path=name)
    _, metadata, _ = text.split("---\n", 2)
    assert yaml.safe_load(metadata).get("base_model") == base
    assert f"\n{name}, trained further with homestretch" in text


@pytest.mark.parametrize(
    "rewards", [{}, {"overlap": 10.0}, {"model": 1.0, "concise": 0.5}, {"relevant": {"local": "relevance"}}]
)
def test_a_run_on_pairs_alone_says_that_it_used_no_preferences(tmp_path: Path, rewards: dict[str, Any]) -> None:
    golden = {"second": {"classifier": "org/judge"}}  # is looked at, not learnt from
    text = card(tmp_path, [*RLOO[:3], {"rloo": {"rewards": rewards, "golden": golden}}, "evaluate"])
    assert UNLABELLED in text and "`reward`, `rloo`." in text


@pytest.mark.parametrize(
    ("stages", "columns", "more"),
    [
        (["sft", "negatives", "dpo"], {"rejected": " No."}, {}),
        (["sft", "wbc"], {"reward": 1.0}, {}),
        (["sft", {"gold": {"rewards": {"helpful": {"column": "truth"}}}}], {"truth": 1.0}, {}),
        (["sft", {"rloo": {"rewards": {"mine": {"function": "mine.py:mine"}}}}], {}, {}),
        ([*RLOO[:3], {"rloo": {"rewards": {"polite": {"classifier": "org/polite"}}}}], {}, {}),
        ([*RLOO[:3], {"rloo": {"rewards": {"other": {"reward_model": "runs/other"}}}}], {}, {}),
        ([*RLOO[:3], {"rloo": {"rewards": {"kind": {"judge": {"prompt": "Kind?", "model": "org/m"}}}}}], {}, {}),
        (["sft", "ppo"], {}, {"reward_model_name_or_path": "runs/other"}),
        (["sft", {"distill": {"teacher_name_or_path": "org/teacher"}}], {}, {}),
        ([{"soup": {"models": {"a": 0.5, "b": 0.5}}}], {}, {}),
        (
            ["sft", "negatives", {"modpo": {"rewards": {"p": {"policy": "runs/p", "weight": 0.5}}, "weight": 0.5}}],
            {},
            {},
        ),
    ],
)
def test_where_preferences_may_have_come_from_outside_it_says_nothing_of_them(
    tmp_path: Path, stages: list[Any], columns: dict[str, Any], more: dict[str, Any]
) -> None:
    assert UNLABELLED not in card(tmp_path, stages, columns, **more)

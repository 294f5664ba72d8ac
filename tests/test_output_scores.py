"""Rewards and divergence of evaluated outputs, from the recipe to the table."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from offline_runs import SFT, SMALL, recipe
from test_modpo_stage import rejected
from tiny import build

from homestretch.errors import RecipeError
from homestretch.evaluate import evaluate_rows, read_rows
from homestretch.metrics.sentences import words
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk
from homestretch.report.names import metric_label
from homestretch.results import Results
from homestretch.training.pipeline import run_recipe

FUNCTION = """
def vowels(prompts, completions, **columns):
    return [float(sum(c in "aeiou" for c in text)) if text else None for text in completions]
"""


@pytest.mark.slow
def test_outputs_have_the_rewards_of_the_recipe_and_their_distance_from_the_start(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FUNCTION)
    terms = {"concise": 0.5, "vowels": {"function": f"{tmp_path}/mine.py:vowels", "weight": -2.0, "sigmoid": True}}
    dpo = {**SMALL, "learning_rate": 1e-2, "metric_for_best_model": "none"}
    settings = {"score_kl": True, "metrics": ["rougeL", "kl"], "metric_for_verdict": "rougeL"}
    stages = [SFT, {"dpo": dpo}, {"evaluate": {"rewards": terms, **settings}}]
    run = run_recipe(recipe(tmp_path, "llama", stages, rejected=rejected), tmp_path / "run")
    rows = [row for row in read_rows(run.generations) if "_raw" in row["arm"]]
    assert {row["arm"] for row in rows} == {"ml_raw", "rl_raw", "ml_raw@t1", "rl_raw@t1"}
    for row in rows:
        assert row["rewards"]["concise"] == -len(words(row["text"]))
        vowels = sum(c in "aeiou" for c in row["text"])
        assert row["rewards"]["vowels"] == (pytest.approx(1 / (1 + math.exp(-vowels))) if row["text"] else None)
        total = 0.5 * row["rewards"]["concise"] - 2 * (row["rewards"]["vowels"] or 0)
        assert row["reward"] == pytest.approx(total)
        assert row["lower_is_better"] == ["vowels"]
        assert (row["kl"] is None) == ("@t1" not in row["arm"])
        assert row["arm"] != "ml_raw@t1" or row["kl"] == 0
    arms = Results.read(run.results).arms
    assert arms["rl_raw"].metrics["rewards/concise"].higher_is_better is True
    assert arms["rl_raw"].metrics["rewards/vowels"].higher_is_better is False
    assert "reward" not in arms["rl_raw"].metrics, "it was not asked for"
    assert arms["ml_raw@t1"].metrics["kl"].value == 0 and "kl" not in arms["rl_raw"].metrics
    assert arms["rl_raw@t1"].metrics["kl"].value != 0 and arms["rl_raw@t1"].metrics["kl"].higher_is_better is None
    assert metric_label("rewards/concise") == "reward: concise"


@pytest.mark.slow
def test_the_distance_is_that_of_the_two_models(tmp_path: Path) -> None:
    """Four tokens by hand: each model alone, one row, its own logits."""
    from types import SimpleNamespace

    from test_policies import PROMPTS, RESPONSES, batch_of, naive_logp

    from homestretch.training.output_scores import divergences

    policy, reference = build("llama"), build("qwen3")
    context = SimpleNamespace(load_trunk=lambda name: Trunk(reference), policy=lambda t, a: Policy(t, a, budget=1000))
    found = divergences(context, Policy(Trunk(policy), None, budget=1000), "start", batch_of())
    with torch.no_grad():
        for kl, prompt, response in zip(found, PROMPTS, RESPONSES, strict=True):
            own, start = (float(naive_logp(lm, prompt, response).sum()) for lm in (policy, reference))
            assert kl == pytest.approx(own - start, abs=1e-3)


def test_a_reward_that_not_every_output_has_is_no_metric_of_the_arm() -> None:
    rows = [
        {
            "id": str(i),
            "arm": "ml_raw",
            "text": "a b",
            "references": ["a"],
            "source": "",
            "tokens": 2,
            "terminated": True,
            "rewards": {"x": 1.0 if i else None, **({"y": 2.0} if i else {})},
        }
        for i in range(4)
    ]
    metrics = evaluate_rows(rows, metrics=["rougeL"]).arms["ml_raw"].metrics
    assert metrics["rewards/x"].value == 1 and metrics["rewards/x"].n == 3
    assert "rewards/y" not in metrics
    assert json.dumps(list(metrics))


def test_a_column_is_no_reward_of_outputs(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="is a column of the data, which says nothing about samples"):
        recipe(tmp_path, "llama", [SFT, {"evaluate": {"rewards": {"mine": {"column": "reward"}}}}])
    made = recipe(tmp_path, "llama", [SFT, {"evaluate": {"rewards": {"model": 1.0}}}])
    with pytest.raises(RecipeError, match="there is no reward model: put a stage `reward` before it"):
        run_recipe(made, tmp_path / "run")

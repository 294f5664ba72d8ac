"""A run folder that is evaluated again: its own settings, and what is not measured anew stays."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from homestretch.cli.main import app
from homestretch.config.evaluate import EvaluateConfig
from homestretch.config.recipe import dump, load_recipe
from homestretch.errors import RecipeError
from homestretch.evaluate import evaluate_rows, read_rows
from homestretch.results import Results, RunFolder, Selection
from homestretch.verbs.measure import measure
from homestretch.verbs.renewed import Own

WORDS = "river bridge town council house garden light road stone water".split()
ASKED = {"metrics": ["la_rougeL", "bleu"], "la_rouge": "c", "seed": 5, "metric_for_verdict": "bleu"}


def run_folder(path: Path, **asked: Any) -> RunFolder:
    """A run of two arms that was evaluated by `ASKED`, as its recipe has it."""
    run = RunFolder(path)
    run.evaluation.mkdir(parents=True)
    rng = random.Random(0)
    rows = [
        {"id": str(i), "arm": arm, "prompt": f"p{i}", "references": [" ".join(WORDS[:5])], "source": "", "tokens": 6}
        | {"text": " ".join([*rng.sample(WORDS[:6], 4), *rng.sample(WORDS, 3)]), "terminated": True}
        for arm in ("ml_raw", "rl_raw")
        for i in range(12)
    ]
    run.generations.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ASKED | asked
    run.recipe.write_text(dump(load_recipe({"stages": ["sft", {"evaluate": asked}, "report"]})))
    keys = ("metrics", "la_rouge", "seed")
    made = evaluate_rows(rows, **{key: asked[key] for key in keys}, headline_metric=asked["metric_for_verdict"])
    chosen = [Selection(stage="sft", metric="rougeL", step=3, value=1.0)]
    made.model_copy(update={"dataset": "the data", "selection": chosen}).write(run.results)
    return run


def test_one_metric_more_keeps_the_rest(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    before, found = Results.read(run.results), measure([run.path], metrics=["chrf"])
    assert Results.read(run.results) == found
    assert (found.headline_metric, found.dataset, found.selection) == ("bleu", "the data", before.selection)
    new = evaluate_rows(read_rows(run.generations), metrics=["chrf"], seed=5)
    for name, arm in before.arms.items():
        assert found.arms[name].metrics == arm.metrics | {"chrf": new.arms[name].metrics["chrf"]}
        assert list(found.arms[name].metrics) == ["la_rougeL", "bleu", "chrf"]
        assert (found.arms[name].failure_modes, found.arms[name].length) == (arm.failure_modes, arm.length)
    chrf = [c for c in new.comparisons if c.metric == "chrf"]
    assert [c for c in found.comparisons if c.metric != "chrf"] == before.comparisons
    assert [c for c in found.comparisons if c.metric == "chrf"] == chrf != []


def test_what_is_not_given_is_what_the_run_was_asked_for(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    before = Results.read(run.results)
    assert measure([run.path]) == before
    run.results.unlink()
    again = measure([run.path])
    assert (again.arms, again.comparisons, again.headline_metric) == (before.arms, before.comparisons, "bleu")
    for path in (run.recipe, run.results):
        path.unlink()
    bare = measure([run.path])
    assert bare.headline_metric == "la_rougeL" and "chrf" in bare.arms["ml_raw"].metrics


def test_what_is_given_wins_and_is_measured_anew(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    before, rows = Results.read(run.results), read_rows(run.generations)
    found = measure([run.path], metrics=["la_rougeL"], la_rouge="b", seed=1, headline_metric="la_rougeL")
    new = evaluate_rows(rows, metrics=["la_rougeL"], la_rouge="b", seed=1)
    metrics = found.arms["rl_raw"].metrics
    assert metrics["la_rougeL"] == new.arms["rl_raw"].metrics["la_rougeL"] != before.arms["rl_raw"].metrics["la_rougeL"]
    assert metrics["bleu"] == before.arms["rl_raw"].metrics["bleu"] and found.headline_metric == "la_rougeL"
    assert [(c.a, c.b, c.metric) for c in found.comparisons] == [(c.a, c.b, c.metric) for c in before.comparisons]
    assert [c for c in found.comparisons if c.metric == "la_rougeL"] == [
        c for c in new.comparisons if c.metric == "la_rougeL"
    ]


def test_the_verdict_is_by_something_that_is_there(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    old = Results.read(run.results)
    old.model_copy(update={"headline_metric": "la_rougeL"}).write(run.results)
    assert measure([run.path], metrics=["chrf"]).headline_metric == "la_rougeL"
    old.model_copy(update={"headline_metric": "rouge1"}).write(run.results)
    # A recipe of before names of metrics were checked.
    run.recipe.write_text(run.recipe.read_text().replace("metric_for_verdict: bleu", "metric_for_verdict: rouge1"))
    assert measure([run.path], metrics=["chrf"]).headline_metric == "chrf"
    with pytest.raises(RecipeError, match="the verdict is by `rouge2`, but only `chrf` is measured"):
        measure([run.path], metrics=["chrf"], headline_metric="rouge2")
    assert measure([run.path], metrics=["chrf"], headline_metric="failures/any").headline_metric == "failures/any"


def test_the_command_line_leaves_the_run_its_settings(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    before = Results.read(run.results)
    done = CliRunner().invoke(app, ["evaluate", str(run.path), "--metric", "chrf", "--out", str(tmp_path / "o.json")])
    assert done.exit_code == 0, done.output
    assert Results.read(run.results) == before, "--out is another file"
    found = Results.read(tmp_path / "o.json")
    assert (found.headline_metric, list(found.arms["ml_raw"].metrics)) == ("bleu", ["la_rougeL", "bleu", "chrf"])


def test_a_checkpoint_that_is_given_is_used() -> None:
    asked = Own(EvaluateConfig(metrics=["la_rougeL"]))
    assert (asked.metrics("bleurt-tiny"), asked.metrics(None)) == (["la_rougeL", "bleurt"], ["la_rougeL"])
    assert Own(EvaluateConfig()).metrics("bleurt-tiny") is None, "all there are"

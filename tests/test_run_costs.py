"""What runs cost and how they learned, read from folders that were written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from report_fixture import make_results, measured

from homestretch.config.methods import load_methods
from homestretch.policies.memory import peak, start_peak
from homestretch.results import Arm, Results, RunFolder, StageRecord
from homestretch.verbs.costs import cost, headline, points, record_of

ROWS = [
    {"step": 0, "eval/chrf": 1.0, "eval/la_rougeL": 2.0},
    {"step": 1, "seconds": 3.0, "num_tokens": 50, "num_samples": 6},
    {"step": 2, "seconds": 5.0, "num_tokens": 90, "num_samples": 12},
    {"step": 2, "eval/la_rougeL": 4.0},
    {"step": 3, "eval/la_rougeL": None},
]


def run_of(folder: Path, *, factor: int = 1) -> RunFolder:
    """A finished run of `sft` and `ift-2`, its costs multiplied."""
    run = RunFolder(folder)
    for number, (name, seconds, tokens, most) in enumerate([("sft", 10.0, 100, 7), ("ift-2", 40.0, 90, 5)], start=1):
        stage = run.stage(number, name)
        StageRecord(
            name=name, status="done", seconds=factor * seconds, tokens=factor * tokens, samples=factor * 12,
            peak_memory_bytes=factor * most,
        ).write(stage.record)  # fmt: skip
        stage.metrics.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    score = measured(20.0 + factor, 1.0, 6)
    arms = {
        "rl_raw": Arm(metrics={"chrf": score}, failure_modes={"any": measured(0.25, 0.1, 6)}),
        "rl_raw@t1": Arm(metrics={}),
    }
    Results(arms=arms).write(run.results)
    return run


def test_a_validation_stands_where_the_round_before_it_had_come() -> None:
    found = list(points(ROWS, "la_rougeL"))
    assert [(p.seconds, p.tokens, p.samples, p.value) for p in found] == [(0.0, 0, 0, 2.0), (5.0, 90, 12, 4.0)]


def test_costs_are_means_over_seeds_and_memory_the_most(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / "0"), run_of(tmp_path / "1", factor=3)]
    recipes = {"a": {"stages": ["sft", "ift-2"]}, "b": {"stages": ["ift"]}}
    method = next(m for m in load_methods(recipes, [], {"tokens": 9})[0] if m.name == "a")
    made = record_of(method, runs, status="done", seeds=[4, 5], metric="chrf")
    assert (made.stages, made.stage, made.limited) == (["sft", "ift-2"], "ift-2", True)
    assert made.own is not None and made.total is not None
    assert (made.own.seconds, made.own.tokens, made.own.samples, made.own.peak_memory_bytes) == (80.0, 180.0, 24.0, 15)
    assert (made.total.seconds, made.total.tokens, made.total.peak_memory_bytes) == (100.0, 380.0, 21)
    assert made.by_seed == {4: 21.0, 5: 23.0}
    assert made.curve_metric == "chrf" and [p.value for p in made.curves[5]] == [1.0]
    assert record_of(method, runs, status="done", seeds=[4, 5], metric="bleu").curve_metric == "la_rougeL"


def test_a_stage_that_counts_nothing_costs_time_only(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    StageRecord(name="negatives", status="done", seconds=2.0).write(run.stage(1, "negatives").record)
    made = cost([[run.stage(1, "negatives")]])
    assert (made.seconds, made.tokens, made.samples, made.peak_memory_bytes) == (2.0, 0, 0, None)


def test_the_headline_is_that_of_greedy_raw_outputs(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    assert list(headline(run, "chrf")) == [21.0] and list(headline(run, "failures/any")) == [0.25]
    assert list(headline(run, "bleu")) == []
    make_results().write(run.results)
    assert list(headline(run, "la_rougeL")) == pytest.approx([24.4, 26.7]), (
        "of every arm without `@t1` and post-processing"
    )


def test_peak_memory_counts_anew() -> None:
    device = torch.device("cpu")
    start_peak(device)
    before = peak(device)
    big = torch.ones(40 << 20)
    during = peak(device)
    assert during >= before + 4 * len(big) * 0.9
    del big
    start_peak(device)
    assert peak(device) < during - (100 << 20)

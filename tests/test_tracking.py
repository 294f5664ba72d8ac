"""`report_to`: what `metrics.jsonl` says is in the tracker too, and a tracker that is absent is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from offline_runs import SFT, log, recipe
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from homestretch.errors import MissingDependency
from homestretch.training import tracking
from homestretch.training.pipeline import run_recipe


def tracked(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of every scalar, by name."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def logged(rows: list[dict[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float):
                found.setdefault(name, []).append((row["step"], pytest.approx(value, rel=1e-6)))
    return found


def test_tensorboard_has_every_number_of_the_log(tmp_path: Path) -> None:
    run = run_recipe(recipe(tmp_path, "llama", [SFT], {"report_to": "tensorboard"}), tmp_path / "run")
    rows = log(run, "01-sft")
    assert {"loss", "learning_rate", "eval/la_rougeL"} <= {name for row in rows for name in row}
    assert tracked(run.path / "tracking" / "run-sft") == logged(rows)


def test_an_absent_tracker_is_refused_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "get_available_trackers", lambda: ["tensorboard"])
    with pytest.raises(MissingDependency, match="type `pip install wandb`"):
        run_recipe(recipe(tmp_path, "llama", [SFT], {"report_to": "wandb"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()

"""Small whole runs of stages that learn from stored responses, in this process; killed at a chosen validation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import load_file
from test_pipeline import pairs

from homestretch.config.recipe import Recipe, load_recipe
from homestretch.results import RunFolder
from homestretch.training.pipeline import run_recipe
from homestretch.training.validation import Validator

SMALL = {"max_steps": 4, "train_batch_size": 6, "eval_examples": 2, "eval_steps": 2, "lora_r": 4, "bf16": False}
SFT = {"sft": {**SMALL, "max_steps": 2, "eval_steps": 2}}


class Killed(BaseException):
    """Stands for the end of the process."""


def data(folder: Path, **columns: Any) -> str:
    """A JSONL file of pairs; each further column is a function of the row and its number."""
    rows = [row | {k: f(row, i) for k, f in columns.items()} for i, row in enumerate(pairs(60))]
    file = folder / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def recipe(folder: Path, name: str, stages: list[Any], shared: dict[str, Any] | None = None, **columns: Any) -> Recipe:
    """A recipe on a tiny model and such data."""
    model = folder / f"model-{name}"
    return load_recipe(
        {
            "model_name_or_path": str(model) if model.is_dir() else tiny.save(model, name),
            "dataset": {"name": data(folder, **columns), "max_completion_length": 16},
            "stages": stages,
            **(shared or {}),
        }
    )


@contextmanager
def killed_at(number: int) -> Iterator[None]:
    """Raise Killed at the validation of that round in the last of the stages."""
    inner = Validator.metrics

    def metrics(self: Validator, at: int) -> dict[str, float]:
        if at == number:
            raise Killed
        return inner(self, at)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Validator, "metrics", metrics)
        yield


def weights(run: RunFolder, stage: str) -> dict[str, torch.Tensor]:
    """The merged weights that a stage saved."""
    return load_file(run.path / "stages" / stage / "model" / "model.safetensors")


def same_after_being_killed(made: Recipe, folder: Path, stage: str, *, at: int = 4) -> RunFolder:
    """Run once in one go and once killed in round `at` and started again; the weights must agree to the bit."""
    whole = run_recipe(made, folder / "whole")
    with killed_at(at), pytest.raises(Killed):
        run_recipe(made, folder / "killed")
    again = run_recipe(made, folder / "killed")
    ours, theirs = weights(whole, stage), weights(again, stage)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
    return whole


def texts_asked(monkeypatch: pytest.MonkeyPatch, kind: type[Any]) -> list[int]:
    """How many texts each call of a reward of that kind is asked about from here on; it answers as ever."""
    inner, asked = kind.__call__, list[int]()

    def counting(self: Any, prompts: Any, completions: Any, **columns: Any) -> Any:
        asked.append(len(completions))
        return inner(self, prompts, completions, **columns)

    monkeypatch.setattr(kind, "__call__", counting)
    return asked


def log(run: RunFolder, stage: str) -> list[dict[str, Any]]:
    """Rows of a stage's metrics."""
    return [json.loads(x) for x in (run.path / "stages" / stage / "metrics.jsonl").read_text().splitlines()]

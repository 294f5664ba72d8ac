"""What a run says beside its progress: which data it found, what it cuts, and what is wrong with its training."""

from __future__ import annotations

from pathlib import Path

import pytest
from offline_runs import SFT, recipe

from homestretch.config.recipe import Recipe
from homestretch.training.pipeline import run_recipe


def limited(folder: Path, *, prompt: int) -> Recipe:
    """A recipe on rows whose prompts have more than ten tokens, cut at `prompt`."""
    made = recipe(folder, "llama", [SFT])
    settings = {"max_prompt_length": prompt, "max_completion_length": 64, "truncate": True}
    return made.model_copy(update={"dataset": made.dataset.model_copy(update=settings)})


def test_data_and_cut_rows_are_one_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_recipe(limited(tmp_path, prompt=10), tmp_path / "run")
    said = capsys.readouterr().err.splitlines()
    total = len((tmp_path / "pairs.jsonl").read_text().splitlines())
    assert said.count(f"{total} of {total} rows are cut to dataset.max_prompt_length or max_completion_length.") == 1
    assert sum(line.startswith(f"{tmp_path / 'pairs.jsonl'}: train ") for line in said) == 1


def test_nothing_is_said_of_rows_that_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_recipe(limited(tmp_path, prompt=64), tmp_path / "run")
    assert "rows are cut" not in capsys.readouterr().err

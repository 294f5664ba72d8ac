"""Prompts leave room for the longest completion that the run will read or write, where a model has few positions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from offline_runs import SMALL, log, recipe
from transformers import GPT2Config, GPT2LMHeadModel

from homestretch.config.recipe import Recipe
from homestretch.data.sources import Splits
from homestretch.errors import RecipeError
from homestretch.results import RunFolder
from homestretch.training.context import Context
from homestretch.training.pipeline import run_recipe

POSITIONS = 64
GRPO = {**SMALL, "max_steps": 1, "rollout_batch_size": 4, "train_batch_size": 4, "num_generations": 4}


def of_few_positions(folder: Path, dataset: int, stages: list[Any]) -> Recipe:
    """A recipe on a model of 64 positions, with prompts that are longer, and completions of the data up to a length."""
    config = GPT2Config(
        vocab_size=tiny.VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=POSITIONS, bos_token_id=2, eos_token_id=1
    )
    torch.manual_seed(0)
    GPT2LMHeadModel(config).save_pretrained(folder / "model-few")
    tiny.tokenizer().save_pretrained(folder / "model-few")
    made = recipe(folder, "few", stages, prompt=lambda row, i: f"{row['prompt']} {i} " * 20)
    settings = {"max_completion_length": dataset, "truncate": True}
    return made.model_copy(update={"dataset": made.dataset.model_copy(update=settings)})


def room(made: Recipe, folder: Path) -> int:
    context = Context(
        made, RunFolder(folder), Splits([], [], [], "No rows."), made.model_name_or_path, torch.device("cpu")
    )
    return context.max_prompt_length


def test_samples_that_are_longer_than_the_data_fit_too(tmp_path: Path) -> None:
    settings = {**GRPO, "rewards": {"overlap": 1.0}, "max_completion_length": 32}
    run = run_recipe(of_few_positions(tmp_path, 16, [{"grpo": settings}]), tmp_path / "run")
    [row] = [r for r in log(run, "01-grpo") if "reward" in r]
    assert row["completions/mean_length"] > 16


@pytest.mark.parametrize(("dataset", "first", "second", "left"), [(16, 32, 8, 32), (16, 8, 40, 24), (48, 8, None, 16)])
def test_the_longest_completion_of_all_counts(
    tmp_path: Path, dataset: int, first: int, second: int | None, left: int
) -> None:
    stages = [{name: {"rewards": {"overlap": 1.0}, "max_completion_length": longest}} for name, longest in
              {"grpo": first, "rloo": second}.items()]  # fmt: skip
    assert room(of_few_positions(tmp_path, dataset, stages), tmp_path) == left


@pytest.mark.parametrize(
    ("dataset", "sampled", "says"),
    [
        (16, 64, r"^grpo\.max_completion_length 64 leaves no room for a prompt: the model has 64 positions; lower it"),
        (16, 65, r"^grpo\.max_completion_length 65 is more than the model can score: it has 64 positions; lower it"),
        (64, 32, r"^dataset\.max_completion_length 64 leaves no room"),
        (65, None, r"^dataset\.max_completion_length 65 is more than"),
    ],
)
def test_the_setting_that_is_too_large_is_named(tmp_path: Path, dataset: int, sampled: int | None, says: str) -> None:
    stages = [{"grpo": {"rewards": {"overlap": 1.0}, "max_completion_length": sampled}}]
    with pytest.raises(RecipeError, match=says):
        room(of_few_positions(tmp_path, dataset, stages), tmp_path)

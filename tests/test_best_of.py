"""Stage `best_of`: its settings, the samples that are kept, and what an evaluation says of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import torch
from offline_runs import SFT, recipe

from homestretch.config.best_of import BestOfConfig
from homestretch.errors import RecipeError
from homestretch.evaluate import read_rows
from homestretch.generation.engine import Sample
from homestretch.metrics.sentences import words
from homestretch.ops.best_of import best_of_kl
from homestretch.policies.trunk import Trunk
from homestretch.results import Results, RunFolder
from homestretch.training import checkpoint
from homestretch.training.best_of import sample_at, samples_of, stored, tell_scales
from homestretch.training.pipeline import run_recipe
from homestretch.training.stages import best_of

EVALUATE = {
    "evaluate": {
        "metrics": ["rougeL", "kl"],
        "metric_for_verdict": "rougeL",
        "score_kl": True,
        "rewards": {"concise": 1.0},
    }
}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"rewards": {"concise": 1}}, "is said by `num_samples` or by `kl`; give one of them"),
        ({"num_samples": 2, "kl": 1.0, "rewards": {"concise": 1}}, "is said by `num_samples` or by `kl`"),
        ({"num_samples": 2, "rewards": {"concise": 0}}, "every weight is 0"),
        ({"num_samples": 2, "rewards": {"mine": {"column": "x"}}}, "`mine` is a column of the data"),
    ],
)
def test_what_cannot_be_chosen_by(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        BestOfConfig.parse(settings, where="here")


def test_n_is_given_or_matches_a_divergence() -> None:
    assert samples_of(BestOfConfig(num_samples=3, rewards={"concise": 1})) == 3
    assert samples_of(BestOfConfig(kl=1.835, rewards={"concise": 1})) == 16


def test_samples_come_back_as_they_were() -> None:
    made = [Sample([3, 0, 5], [-1.0] * 3, True), Sample([7], [-2.0], False)]
    found = stored(made)
    assert found["ids"].tolist() == [[3, 0, 5], [7, -1, -1]]
    assert [sample_at(found, i) for i in (0, 1)] == [Sample([3, 0, 5], [], True), Sample([7], [], False)]


def test_a_reward_that_decides_alone_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    reward_NKM = torch.tensor([[[0.0, 0.0], [500.0, 1.0]]])
    tell_scales(BestOfConfig(num_samples=2, rewards={"concise": 0.5, "coverage": 0.5}), reward_NKM)
    assert "best_of: `concise` with its weight spreads 500 times as widely as `coverage` and decides" in (
        capsys.readouterr().err
    )
    tell_scales(BestOfConfig(num_samples=2, rewards={"concise": 0.1, "coverage": 0.9}), reward_NKM)
    tell_scales(BestOfConfig(num_samples=2, rewards={"concise": 1.0, "coverage": 0.0}), reward_NKM)
    assert capsys.readouterr().err == ""


def test_the_recipes_own_model_is_written_whatever_ran_before(tmp_path: Path) -> None:
    model = Trunk(tiny.build("llama"))
    context = SimpleNamespace(
        folders={"negatives": tmp_path / "01-negatives"},
        model="builtin/of-a-name",
        recipe=SimpleNamespace(model_name_or_path="builtin/of-a-name"),
        tokenizer=tiny.tokenizer(),
        load_trunk=lambda: model,
    )
    best_of.run(context, BestOfConfig(num_samples=2, rewards={"concise": 1}), tmp_path)
    assert (tmp_path / "model" / "model.safetensors").is_file()


def outputs(run: RunFolder, arm: str) -> list[str]:
    return [row["text"] for row in read_rows(run.generations) if row["arm"] == arm]


@pytest.mark.slow
def test_the_best_of_several_samples_is_what_is_evaluated(tmp_path: Path) -> None:
    def made(weight: float) -> list[object]:
        return [SFT, {"best_of": {"num_samples": 4, "rewards": {"concise": weight, "coverage": 1 - weight}}}, EVALUATE]

    short = run_recipe(recipe(tmp_path, "llama", made(1.0)), tmp_path / "short")
    kept = checkpoint.load(short.path / "stages" / "03-evaluate" / "samples")[0]
    lengths_NK = -kept["reward/concise"]
    assert lengths_NK.shape[1] == 4 and bool((lengths_NK.min(1).values < lengths_NK.max(1).values).any())
    assert [len(words(text)) for text in outputs(short, "rl_raw")] == lengths_NK.min(1).values.tolist()
    assert outputs(short, "rl_raw@t1") == outputs(short, "rl_raw"), "they are samples as they are"
    arms = Results.read(short.results).arms
    assert arms["rl_raw@t1"].metrics["kl"].value == pytest.approx(best_of_kl(4)) and "kl" not in arms["rl_raw"].metrics
    start, same = (short.path / "stages" / name / "model" / "model.safetensors" for name in ("01-sft", "02-best_of"))
    assert start.read_bytes() == same.read_bytes()

    full = run_recipe(recipe(tmp_path, "llama", made(0.0)), tmp_path / "full", others=[short])
    again = checkpoint.load(full.path / "stages" / "03-evaluate" / "samples")[0]
    assert all(torch.equal(again[key], kept[key]) for key in kept)
    names = [run.path / "stages" / "03-evaluate" / "samples" / "tensors.safetensors" for run in (short, full)]
    assert names[0].samefile(names[1]), "one set of samples for all weights"
    assert outputs(full, "rl_raw") != outputs(short, "rl_raw")

"""Weighted means of models: the stage, and `homestretch soup` on a front."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest
import tiny
import torch
from offline_runs import SFT, SMALL, recipe, weights
from safetensors.torch import load_file
from test_modpo_stage import rejected

import homestretch
from homestretch.cli.main import run_command
from homestretch.compared import Compared, ComparisonFolder
from homestretch.config.recipe import dump, load_recipe
from homestretch.config.soup import SoupConfig
from homestretch.errors import InputError, RecipeError
from homestretch.training.pipeline import run_recipe
from homestretch.verbs.front import soups_in


@pytest.mark.parametrize(
    ("models", "sentence"),
    [
        ({"a": 1.0}, "a soup is made of two models at least"),
        ({"a": 0.5, "b": 0.6}, "the shares sum to 1.1; make them"),
        ({"a/{sede}": 0.5, "b": 0.5}, "`{sede}` stands for nothing; the one placeholder is `{seed}`, the run's seed"),
    ],
)
def test_what_is_no_soup(models: dict[str, float], sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        SoupConfig.parse({"models": models}, where="here")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_the_stage_averages_weights_by_their_shares(tmp_path: Path, name: str) -> None:
    folders = [tmp_path / f"{which}-0" for which in "ab"]
    for seed, folder in enumerate(folders):
        made = recipe(tmp_path, name, [{"sft": {**SMALL, "max_steps": 1, "learning_rate": 1e-2 * (1 + seed)}}])
        run_recipe(made, tmp_path / f"run-{seed}").model.rename(folder)
    models = {str(tmp_path / "a-{seed}"): 0.25, str(folders[1]): 0.75}
    made = recipe(tmp_path, name, [{"soup": {"models": models}}, {"evaluate": {"sampled": False}}])
    run = run_recipe(made, tmp_path / "run")
    first, second = (load_file(folder / "model.safetensors") for folder in folders)
    found = weights(run, "01-soup")
    assert any(not torch.equal(first[key], second[key]) for key in first)
    for key, tensor in found.items():
        torch.testing.assert_close(tensor, 0.25 * first[key] + 0.75 * second[key])
    assert run.results.is_file() and (run.model / "config.json").is_file()
    (folders[1] / "model.safetensors").write_bytes((folders[0] / "model.safetensors").read_bytes())
    again = weights(run_recipe(made, tmp_path / "run"), "01-soup")
    assert all(torch.equal(again[key], first[key]) for key in again), "another model of the same name is another input"
    absent = {str(folders[0]): 0.5, str(tmp_path / "absent"): 0.5}
    with pytest.raises(InputError, match=r"absent.*there is no such folder"):
        run_recipe(recipe(tmp_path, name, [SFT, {"soup": {"models": absent}}]), tmp_path / "early")
    assert not (tmp_path / "early" / "stages").exists(), "before anything is trained"
    strange = {str(folders[0]): 0.5, tiny.save(tmp_path / "strange", "gpt2"): 0.5}
    with pytest.raises(InputError, match="are models of different shapes; name models of the same start"):
        run_recipe(recipe(tmp_path, name, [{"soup": {"models": strange}}]), tmp_path / "bad")


def killed(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_a_soup_joins_the_front_it_is_made_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = [SFT, {"modpo": {**SMALL, "learning_rate": 1e-2, "metric_for_best_model": "none"}}]
    file, out = tmp_path / "recipe.yaml", tmp_path / "out"
    file.write_text(dump(recipe(tmp_path, "llama", stages, rejected=rejected)))
    command = partial(homestretch.front, file, out=out, weights=[0.2, 0.6, 0.8], seeds=[0, 1])
    before = command(overrides=["evaluate.metrics=[la_rougeL, kl]"])
    monkeypatch.chdir(tmp_path)
    folder = ComparisonFolder(out)
    fell = before.methods["w0.6"].model_copy(update={"status": "failed", "error": "no reason given"})
    before.model_copy(update={"methods": before.methods | {"w0.4": fell}}).write(folder.record)
    (out / "w0.4").mkdir()
    with monkeypatch.context() as while_training:
        while_training.setattr("homestretch.verbs.compare._train", killed)
        with pytest.raises(KeyboardInterrupt):
            homestretch.soup(out, weight=0.35)
    left = Compared.read(folder.record)
    assert left.front == before.front and left.methods["soup0.35"].status == "running", "killed, it has lost nothing"
    assert run_command(["soup", "out", "--weight", "0.35"]) == 0
    assert "soup0.35" in capsys.readouterr().out
    record = Compared.read(folder.record)
    assert record.methods["w0.4"] == fell, "what failed stays on record"
    assert set(record.arms) - set(before.arms) == {"soup0.35", "soup0.35@t1"}
    assert {name: record.arms[name] for name in before.arms} == before.arms, "the others are as they were"
    assert record.front and before.front and before.front.soups == {} and list(record.front.soups) == ["soup0.35"]
    added = record.front.soups["soup0.35"]
    assert 0 <= added.low <= added.value <= added.high and added.value <= record.front.hypervolume.value
    assert record.front.objectives == before.front.objectives
    for seed in (0, 1):
        low, high, mean = (
            load_file(folder.run(name, seed).model / "model.safetensors") for name in ("w0.2", "w0.8", "soup0.35")
        )
        for key, tensor in mean.items():
            torch.testing.assert_close(tensor, 0.75 * low[key] + 0.25 * high[key], atol=1e-6, rtol=1e-5)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = homestretch.soup("../out", weight=0.5)
    assert {"soup0.35", "soup0.5"} <= set(again.arms)
    assert command(overrides=["evaluate.metrics=[la_rougeL, kl]"]) == again, "soups and failures stay in the front"
    both = {name: load_recipe(folder.run(name, 0).recipe) for name in ("w0.2", "w0.8")}
    settings = ["evaluate.metrics=[la_rougeL, kl]"]
    assert homestretch.compare(both, out=tmp_path / "copy", seeds=[0], overrides=settings).front is None
    again.write(ComparisonFolder(tmp_path / "copy").record)
    assert homestretch.compare(both, out=tmp_path / "copy", seeds=[0], overrides=settings).front is None, (
        "not asked for"
    )
    shutil.rmtree(out / "soup0.5")
    assert list(soups_in(out)) == ["soup0.35"], "what was deleted is out"
    assert "soup0.5" not in homestretch.soup(out, weight=0.3).arms
    with pytest.raises(InputError, match=r"The weight 0.9 is not between those of the outermost models, 0.2 and 0.8"):
        homestretch.soup(out, weight=0.9)

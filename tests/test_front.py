"""`homestretch front`: one recipe at several weights, what they share, the record, the page and the command."""

from __future__ import annotations

from pathlib import Path

import pytest
from comparison_fixture import make_record
from offline_runs import SFT, SMALL, recipe
from report_fixture import measured
from test_modpo_stage import rejected

import homestretch
from homestretch.cli.main import run_command
from homestretch.compared import Compared, ComparisonFolder, Front
from homestretch.config.front import at_weights, evaluation_of, objectives_of
from homestretch.config.recipe import Recipe, dump, load_recipe
from homestretch.errors import RecipeError
from homestretch.report.comparison_page import render
from homestretch.report.front import front_table, sentence

TWO = {"weight": 0.4, "rewards": {"concise": 0.2, "faithful": 0.4}}


def made(**modpo: object) -> Recipe:
    return load_recipe({"stages": ["sft", "negatives", {"modpo": modpo}]})


def test_the_others_divide_the_rest_as_they_do_in_the_recipe() -> None:
    found = at_weights(made(**TWO), [0.1, 0.7, 1.0])
    assert list(found) == ["w0.1", "w0.7", "w1"]
    shares = {name: {k: t.weight for k, t in r.find("modpo").rewards.items()} for name, r in found.items()}
    assert shares["w0.7"] == pytest.approx({"concise": 0.1, "faithful": 0.2})
    assert shares["w1"] == {"concise": 0, "faithful": 0} and found["w0.1"].find("modpo").weight == 0.1


def test_objectives_are_metrics_of_outputs() -> None:
    assert objectives_of(made(**TWO), "la_rougeL") == ["la_rougeL", "rewards/concise", "rewards/faithful"]
    judged = load_recipe({"stages": ["sft", "negatives", "reward", {"modpo": TWO}]})
    assert objectives_of(judged, "la_rougeL")[0] == "rewards/model"
    assert evaluation_of(judged)[0] == 'evaluate.rewards={"concise": 1.0, "faithful": 1.0, "model": 1.0}'
    stored = made(weight=0.5, rewards={"truth": {"column": "rewards.truth", "weight": 0.5}})
    with pytest.raises(RecipeError, match="The objective `truth` is no reward that can be asked of what a"):
        objectives_of(stored, "la_rougeL")
    assert evaluation_of(stored)[0] == "evaluate.rewards={}"


@pytest.mark.parametrize(
    ("recipe", "weights", "sentence"),
    [
        (made(**TWO), [0.5], "A front needs two weights at least"),
        (made(**TWO), [0.0, 0.5], "The weight 0 is not between 0.01 and 1"),
        (made(weight=1.0, rewards={}), [0.2, 0.5], "names no other objective with a share"),
        (load_recipe({"stages": ["sft"]}), [0.2, 0.5], "A front is made of a recipe with a stage `modpo`"),
    ],
)
def test_what_makes_no_front(recipe: Recipe, weights: list[float], sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        at_weights(recipe, weights)


@pytest.mark.slow
def test_a_family_of_models_shares_all_that_does_not_hang_on_the_weight(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = [SFT, {"modpo": {**SMALL, "learning_rate": 1e-2, "metric_for_best_model": "none"}}]
    file = tmp_path / "recipe.yaml"
    file.write_text(dump(recipe(tmp_path, "llama", stages, rejected=rejected)))
    out = tmp_path / "out"
    settings = ["evaluate.metrics=[la_rougeL, kl]"]
    assert run_command(["front", str(file), "--out", str(out), "--weights", "0.2,0.8", *settings]) == 0
    said = capsys.readouterr().out
    assert "On the front of la-ROUGE-L and reward: concise: `" in said and "The hypervolume above" in said
    folder = ComparisonFolder(out)
    runs = [folder.run(name, 0) for name in ("w0.2", "w0.8")]
    for shared in ("01-sft/model/model.safetensors", "02-modpo/reference/tensors.safetensors"):
        first, second = (run.path / "stages" / shared for run in runs)
        assert first.samefile(second), shared
    assert all((run.model / "adapter").is_dir() for run in runs), "each point is a model"
    record = Compared.read(folder.record)
    assert record.front and record.front.objectives == ["la_rougeL", "rewards/concise"]
    assert set(record.arms) == {"ml", "w0.2", "w0.8", "ml@t1", "w0.2@t1", "w0.8@t1"} and record.methods["ml"].baseline
    assert record.arms["w0.2@t1"].metrics["kl"].value != 0
    page = folder.report.read_text()
    assert 'id="front"' in page and "la-ROUGE-L against reward: concise" in page and "<script" not in page
    assert homestretch.front(file, out=out, weights=[0.2, 0.8], overrides=settings) == record


def with_front() -> Compared:
    record = make_record()
    arms = {
        name: arm.model_copy(update={"metrics": arm.metrics | {"rewards/concise": measured(-place, 0.4, 300)}})
        for place, (name, arm) in enumerate(record.arms.items())
    }
    front = Front(
        objectives=["la_rougeL", "rewards/concise"],
        members=["ml", "ppo"],
        reference={"la_rougeL": 24.4, "rewards/concise": -2.0},
        hypervolume=measured(3.25, 0.5, 300),
    )
    return record.model_copy(update={"arms": arms, "front": front})


def test_the_sentence_and_the_table_say_who_is_on_the_front() -> None:
    record = with_front()
    assert sentence(record) == (
        "On the front of la-ROUGE-L and reward: concise: `ml` and `ppo`. `dpo` is beaten in everything by another. The "
        "hypervolume above la-ROUGE-L 24.4 and reward: concise \N{MINUS SIGN}2.00 is 3.25 (95 % interval 2.75 to 3.75)."
    )
    header, *rows = front_table(record)
    assert header == ["method", "la-ROUGE-L", "reward: concise", "on the front"]
    assert [row[-1] for row in rows] == ["yes", "no", "yes"]
    assert sentence(make_record()) == "" and front_table(make_record()) == []


def test_the_page_shows_a_front_where_there_is_one() -> None:
    page = render(with_front())
    assert "la-ROUGE-L against reward: concise, with 95 % intervals" in page and "<code>dpo</code> is beaten" in page
    assert 'href="#front"' in page and 'id="front"' not in render(make_record())

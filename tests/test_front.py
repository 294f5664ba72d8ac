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
from homestretch.compared import Compared, ComparisonFolder, Family, Front, VolumeDifference
from homestretch.config.evaluate import EvaluateConfig
from homestretch.config.front import at_weights, evaluation_of, judged, objectives_of, swept
from homestretch.config.recipe import Recipe, dump, load_recipe
from homestretch.errors import InputError, RecipeError
from homestretch.report.comparison_page import render
from homestretch.report.front import front_table, sentence
from homestretch.verbs.compare import check_objectives
from homestretch.verbs.front import common_objectives, families_of

TWO = {"weight": 0.4, "rewards": {"concise": 0.2, "faithful": 0.4}}


def made(**modpo: object) -> Recipe:
    return load_recipe({"stages": ["sft", "negatives", {"modpo": modpo}]})


def test_the_others_divide_the_rest_as_they_do_in_the_recipe() -> None:
    found = at_weights(made(**TWO), [0.1, 0.7, 1.0])
    assert list(found) == ["w0.1", "w0.7", "w1"]
    shares = {name: {k: t.weight for k, t in r.find("modpo").rewards.items()} for name, r in found.items()}
    assert shares["w0.7"] == pytest.approx({"concise": 0.1, "faithful": 0.2})
    assert shares["w1"] == {"concise": 0, "faithful": 0} and found["w0.1"].find("modpo").weight == 0.1


@pytest.mark.parametrize("shares", [(0.1, 0.56, 0.34), (0.08, 0.06, 0.86), (0.3333334, 0.3333334, 0.3333334)])
def test_sums_that_are_rounded_make_no_weight_above_one(shares: tuple[float, float, float]) -> None:
    own, *others = shares
    recipe = made(weight=own, rewards=dict(zip(("concise", "faithful"), others, strict=True)))
    assert at_weights(recipe, [0.5, 1.0])["w1"].find("modpo").weight == 1.0


def test_the_score_stands_for_one_objective_alone() -> None:
    own = {"weight": 0.5, "rewards": {"model": 0.3, "concise": 0.2}}
    recipe = load_recipe({"stages": ["sft", "negatives", "reward", {"modpo": own}]})
    found = objectives_of(recipe, "la_rougeL", judged=True)
    assert found == ["la_rougeL", "rewards/model", "rewards/concise"]


def test_objectives_are_metrics_of_outputs() -> None:
    found = objectives_of(made(**TWO), "la_rougeL", judged=False)
    assert found == ["la_rougeL", "rewards/concise", "rewards/faithful"]
    with_model = load_recipe({"stages": ["sft", "negatives", "reward", {"modpo": TWO}]})
    assert judged([with_model]) and not judged([with_model, made(**TWO)])
    assert objectives_of(with_model, "la_rougeL", judged=True)[0] == "rewards/model"
    assert evaluation_of([with_model])[0] == 'evaluate.rewards={"concise": 1.0, "faithful": 1.0, "model": 1.0}'
    both = evaluation_of([with_model, made(**TWO)])
    assert both[0] == 'evaluate.rewards={"concise": 1.0, "faithful": 1.0}', "a model that one lacks can judge none"
    stored = made(weight=0.5, rewards={"truth": {"column": "rewards.truth", "weight": 0.5}})
    with pytest.raises(RecipeError, match="The objective `truth` is no reward that can be asked of what a"):
        objectives_of(stored, "la_rougeL", judged=False)
    assert evaluation_of([stored])[0] == "evaluate.rewards={}"


def swept_at(stage: dict[str, object], weight: float, *before: object) -> dict[str, float]:
    found = at_weights(load_recipe({"stages": [*before, stage]}), [weight, 1.0])[f"w{weight:g}"]
    return found.stages[-1].config.shares


def test_whatever_has_the_weights_of_two_objectives_can_be_swept() -> None:
    """The first takes its share of the sum of all weights, the others divide the rest as they do in the recipe."""
    sampled = {"rewards": {"model": 1.0, "concise": 2.0, "overlap": 1.0}}
    expected = pytest.approx({"model": 1.0, "concise": 2.0, "overlap": 1.0})
    for stage in ({"ppo": sampled}, {"grpo": sampled}, {"best_of": {"num_samples": 2, **sampled}}):
        assert swept_at(stage, 0.25, "sft", "negatives", "reward") == expected
        assert swept_at(stage, 0.7, "sft", "negatives", "reward")["model"] == pytest.approx(2.8)
    assert swept_at({"dpo": TWO}, 0.0, "negatives") == pytest.approx({"weight": 0, "concise": 1 / 3, "faithful": 2 / 3})
    assert swept_at({"soup": {"models": {"a": 0.5, "b": 0.5}}}, 0.2) == pytest.approx({"a": 0.2, "b": 0.8})
    with pytest.raises(RecipeError, match=r"The weight -0.5 is not between 0 and 1"):
        swept_at({"dpo": TWO}, -0.5, "negatives")
    two = load_recipe({"stages": ["negatives", {"modpo": TWO}, {"dpo-2": TWO}]})
    assert swept(two).name == "dpo-2", "the last one"


def test_recipes_side_by_side_trade_the_same_things_off() -> None:
    with pytest.raises(RecipeError, match="A front needs a recipe at least"):
        families_of([], [])
    with_model = ["sft", "negatives", "reward"]
    online = {"ppo": {"rewards": {"model": 0.5, "concise": 0.5}}}
    pairs = {"modpo": {"weight": 0.5, "rewards": {"concise": 0.5}}}
    ours = {"stages": [*with_model, pairs]}
    found = families_of({"a": ours, "b": {"stages": [*with_model, online]}}, [])
    assert common_objectives(found) == ["rewards/model", "rewards/concise"]
    found = families_of({"a": {"stages": ["sft", "negatives", pairs]}, "b": {"stages": [*with_model, online]}}, [])
    with pytest.raises(RecipeError, match="`a` trades off la_rougeL and rewards/concise, `b` rewards/model and"):
        common_objectives(found)
    mixed = families_of({"a": ours, "s": {"stages": [{"soup": {"models": {"x": 0.5, "y": 0.5}}}]}}, [])
    assert common_objectives(mixed) == ["la_rougeL", "rewards/concise"]
    with pytest.raises(RecipeError, match="Models are mixed here, not objectives"):
        common_objectives({"s": mixed["s"]})
    files = families_of(["modpo/brevity", "ppo/brevity", "best_of/brevity", "dpo/brevity"], ["dpo.beta=0.3"])
    assert list(files) == ["modpo", "ppo", "best_of", "dpo"] and files["dpo"].find("dpo").beta == 0.3
    assert common_objectives(files) == ["rewards/model", "rewards/concise"]
    assert list(families_of(["modpo/docstrings", "modpo/brevity"], [])) == ["docstrings", "brevity"]
    assert list(families_of(["modpo/docstrings"], [])) == [""] == list(families_of("modpo/docstrings", []))
    other = {
        "stages": ["negatives", {"dpo": {"weight": 0.5, "rewards": {"concise": {"weight": 0.5, "sigmoid": True}}}}]
    }
    with pytest.raises(RecipeError, match="Two recipes mean different rewards by `concise`"):
        evaluation_of([load_recipe(ours), load_recipe(other)])


@pytest.mark.parametrize(
    ("recipe", "weights", "sentence"),
    [
        (made(**TWO), [0.5], "A front needs two weights at least"),
        (
            made(**TWO),
            [0.0, 0.5],
            "The weight 0 is not between 0.01 and 1: `modpo` divides by it, and weight 0, the other objectives alone",
        ),
        (
            made(weight=0.5, rewards={"other": {"policy": "runs/other/model", "weight": 0.5}}),
            [0.0, 0.5],
            "`modpo` divides by it, and weight 0 is the margin policy itself, `runs/other/model`; leave it out",
        ),
        (made(**{**TWO, "weight": 1, "rewards": {"concise": 0}}), [0.2, 0.5], "names no other objective with a share"),
        (made(weight=1.0, rewards={}), [0.2, 0.5], "A front is made of a recipe with a stage that has the weights"),
        (made(**TWO), [0.5, 1.1], "The weight 1.1 is not between 0.01 and 1"),
        (load_recipe({"stages": ["sft"]}), [0.2, 0.5], "A front is made of a recipe with a stage that has the weights"),
    ],
)
def test_what_makes_no_front(recipe: Recipe, weights: list[float], sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        at_weights(recipe, weights)


@pytest.mark.parametrize(
    ("objectives", "sentence"),
    [
        (["la_rougeL"], "A front needs two objectives at least, as in"),
        (["la_rougeL", "la_rougeL"], "A front needs two objectives at least, as in"),
        (["la_rougeL", "rouge1", "la_rougeL"], "The objective `la_rougeL` is named twice and would count twice"),
        (["la_rougeL", "rewards/concize"], "`rewards/concize` can be no objective.*; did you mean `rewards/concise`?"),
        (["la_rougeL", "rewards/silent"], "`rewards/silent` can be no objective"),
        (["la_rougL", "rewards/concise"], "`la_rougL` can be no objective.*; did you mean `la_rougeL`?"),
        (["la_rougeL", "length_ratio"], "`length_ratio` can be no objective: it is not measured here, or neither dir"),
        (["la_rougeL", "failures/anny"], "did you mean `failures/any`?"),
        (["la_rougeL", "bertscore"], "`bertscore` can be no objective"),
    ],
)
def test_what_cannot_be_an_objective_is_told(objectives: list[str], sentence: str) -> None:
    rewards = {"concise": 1.0, "silent": {"function": "mine:silent", "weight": 0.0}}
    evaluation = EvaluateConfig(metrics=["la_rougeL", "kl"], rewards=rewards)
    with pytest.raises(RecipeError, match=sentence):
        check_objectives(objectives, evaluation)
    check_objectives(["rougeL", "reward", "rewards/concise", "failures/any"], evaluation)


def trains(*_: object) -> None:
    raise AssertionError("nothing is to be trained")


def test_objectives_are_looked_at_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("homestretch.verbs.compare._train", trains)
    with pytest.raises(RecipeError, match="`rewards/concize` can be no objective"):
        homestretch.front("modpo/brevity", out=tmp_path / "out", objectives=["la_rougeL", "rewards/concize"])
    assert not (tmp_path / "out").exists()


def test_a_policy_that_is_not_there_is_told_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("homestretch.verbs.compare._train", trains)
    objectives = {"weight": 0.5, "rewards": {"other": {"policy": str(tmp_path / "none"), "weight": 0.5}}}
    given = recipe(tmp_path, "llama", [SFT, {"modpo": {**SMALL, **objectives}}], rejected=rejected)
    with pytest.raises(InputError, match="there is no such folder"):
        homestretch.front(given, out=tmp_path / "out", objectives=["la_rougeL", "failures/any"])
    assert not (tmp_path / "out").exists()


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


@pytest.mark.slow
def test_several_recipes_make_a_front_each_above_one_corner(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    objectives = {"weight": 0.5, "rewards": {"concise": 0.5}}
    quick = {**SMALL, "learning_rate": 1e-2, "metric_for_best_model": "none"}
    best_of = {"num_samples": 3, "rewards": {"overlap": 0.5, "concise": 0.5}}
    files = []
    for stage in ({"modpo": {**quick, **objectives}}, {"dpo": {**quick, **objectives}}, {"best_of": best_of}):
        files.append(tmp_path / f"{next(iter(stage))}.yaml")
        files[-1].write_text(dump(recipe(tmp_path, "llama", [SFT, stage], rejected=rejected)))
    out = tmp_path / "out"
    settings = ["--objectives", "la_rougeL,rewards/concise", "evaluate.metrics=[la_rougeL, kl]"]
    asked = ["front", *map(str, files), "--out", str(out), "--weights", "0.2,1", *settings]
    assert run_command(asked) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    record = Compared.read(ComparisonFolder(out).record)
    families = {name: family.methods for name, family in record.front.families.items()}
    assert families == {name: [f"{name}-w0.2", f"{name}-w1"] for name in ("modpo", "dpo", "best_of")}
    assert len(record.front.differences) == 3 and "Alone above that corner: `modpo` " in said
    assert all(f.hypervolume.value <= record.front.hypervolume.value for f in record.front.families.values())
    page = ComparisonFolder(out).report.read_text()
    assert ">w0.2<" in page, "points have their weight beside them, and the colour of their recipe"
    with pytest.raises(InputError, match="has models of modpo, dpo, best_of; say with --of whose are to be mixed"):
        homestretch.soup(out, weight=0.5)
    with pytest.raises(InputError, match="`ppo` is none of the front's recipes; there are modpo, dpo, best_of"):
        homestretch.soup(out, weight=0.5, of="ppo")
    with pytest.raises(InputError, match="holds no front of two models at least"):
        homestretch.soup(out, weight=0.5, of="best_of")
    mixed = homestretch.soup(out, weight=0.6, of="dpo")
    assert set(mixed.arms) - set(record.arms) == {"dpo-soup0.6", "dpo-soup0.6@t1"}
    assert mixed.front.families.keys() == families.keys()


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
        "On the front of la-ROUGE-L and reward: concise: `ml` and `ppo`. `dpo` is beaten: another is nowhere worse, "
        "and better in one of them. The hypervolume above la-ROUGE-L 24.4 and reward: concise \N{MINUS SIGN}2.00 is "
        "3.25 (95 % interval 2.75 to 3.75)."
    )
    header, *rows = front_table(record)
    assert header == ["method", "la-ROUGE-L", "reward: concise", "on the front"]
    assert [row[-1] for row in rows] == ["yes", "no", "yes"]
    assert sentence(make_record()) == "" and front_table(make_record()) == []


def test_what_recipes_cover_alone_is_said_with_what_tells_them_apart() -> None:
    record = with_front()
    families = {"a": Family(methods=["dpo"], hypervolume=measured(2.0, 0.5, 300))}
    families["b"] = Family(methods=["ml", "ppo"], hypervolume=measured(3.0, 0.5, 300))

    def said(low: float, high: float) -> str:
        difference = VolumeDifference(a="a", b="b", difference=-1.0, low=low, high=high)
        front = record.front.model_copy(update={"families": families, "differences": [difference]})
        return sentence(record.model_copy(update={"front": front})).partition(" Alone above that corner: ")[2]

    assert said(-1.5, -0.5) == (
        "`a` 2.00 (95 % interval 1.50 to 2.50) and `b` 3.00 (95 % interval 2.50 to 3.50). It is larger of `b` than `a`."
    )
    assert said(-1.5, 0.5).endswith(". The intervals of all differences include zero.")


def test_what_a_mixture_adds_is_said() -> None:
    record = with_front()
    assert record.front is not None
    front = record.front.model_copy(update={"soups": {"soup0.4": measured(0.25, 0.125, 300)}})
    assert sentence(record.model_copy(update={"front": front})).endswith(
        " Mixtures add to the hypervolume of the trained models: `soup0.4` 0.250 (95 % interval 0.125 to 0.375)."
    )


def test_the_page_shows_a_front_where_there_is_one() -> None:
    page = render(with_front())
    assert "la-ROUGE-L against reward: concise, with 95 % intervals" in page and "<code>dpo</code> is beaten" in page
    assert 'href="#front"' in page and 'id="front"' not in render(make_record())

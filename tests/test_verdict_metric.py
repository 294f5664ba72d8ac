"""Which metric decides: its name is checked before anything is trained, and which of its directions is the better."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from homestretch.cli.main import run_command
from homestretch.config.evaluate import EvaluateConfig
from homestretch.config.front import at_weights
from homestretch.config.measured import BUILT_IN, FAILURE_RULES, check_metrics
from homestretch.config.recipe import load_recipe
from homestretch.errors import DataError, InputError, RecipeError
from homestretch.evaluate import evaluate_rows, front_rows, rank_rows, read_rows
from homestretch.metrics import METRICS
from homestretch.metrics.failures import RULES
from homestretch.metrics.scorers import OF_ENCODER
from homestretch.report.verdict import outcome, verdict
from homestretch.results import Arm, Measured, Results, RunFolder
from homestretch.verbs.compare import compare, front_of, raw_rows
from homestretch.verbs.measure import measure

TOXIC = {"toxicity": {"classifier": "org/toxic", "weight": -0.5}, "concise": 1.0}


def test_the_names_are_those_that_are_measured() -> None:
    assert set(BUILT_IN) == set(METRICS)
    assert set(FAILURE_RULES) == {*RULES, "any"}
    assert {*OF_ENCODER, "bleurt"} == {key for key, m in METRICS.items() if {"encoder", "checkpoint"} & {*m.needs}}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"metrics": ["rougl"]}, r"^recipe: `rougl` is no metric \(did you mean `rougeL`\)"),
        ({"metric_for_verdict": "rougel"}, r"`rougel` is no metric \(did you mean `rougeL`\)"),
        ({"metric_for_verdict": "failures/anny"}, "did you mean `failures/any`"),
        ({"metric_for_verdict": "rewards/concize", "rewards": TOXIC}, "did you mean `rewards/concise`"),
        ({"metric_for_verdict": "rewards/concise"}, "`rewards/concise` is no metric"),
        ({"metrics": ["rouge1"]}, "the verdict is by `la_rougeL`, but only `rouge1` is measured; add it or cho"),
        ({"metrics": []}, "the verdict is by `la_rougeL`, but none of the metrics is measured"),
        ({"metrics": ["rewards/concise"], "rewards": TOXIC}, "`rewards/concise` is measured without being named"),
        ({"metrics": ["bleurt", "la_rougeL"]}, "`bleurt` needs a `bleurt_checkpoint`"),
        ({"metric_for_verdict": "bleurt"}, "`bleurt` needs a `bleurt_checkpoint`"),
        ({"metric_for_verdict": "reward"}, "`reward` needs `rewards`"),
        ({"metric_for_verdict": "kl", "score_kl": True, "sampled": False}, "`kl` needs `score_kl` and `sampled`"),
    ],
)
def test_a_metric_that_is_not_measured_is_refused_with_the_recipe(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says) as error:
        load_recipe({"stages": ["sft", {"evaluate": settings}]})
    assert "?." not in str(error.value)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"metrics": ["rouge1"], "metric_for_verdict": "rouge1"},
        {"metrics": [], "metric_for_verdict": "failures/any"},
        {"metrics": ["kl", "reward", "la_rougeL"]},
        {"metric_for_verdict": "reward", "rewards": TOXIC},
        {"metric_for_verdict": "rewards/toxicity", "rewards": TOXIC, "metrics": ["rougeL"]},
        {"metric_for_verdict": "bleurt", "bleurt_checkpoint": "x"},
        {"metric_for_verdict": "similarity"},
        {"metric_for_verdict": "kl", "score_kl": True},
    ],
)
def test_a_metric_that_is_measured_may_decide(settings: dict[str, Any]) -> None:
    assert EvaluateConfig(**settings)


def test_a_check_of_a_recipe_tells_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["recipes", "check", "quickstart", "evaluate.metric_for_verdict=rougel"]) == 2
    assert "did you mean `rougeL`" in capsys.readouterr().err


def trains(*_: object) -> None:
    raise AssertionError("nothing is to be trained")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("evaluate.metric_for_verdict=length_ratio", "`length_ratio` ranks no methods: neither direction is better"),
        ("evaluate.metrics=[rouge1]", "the verdict is by `la_rougeL`, but only `rouge1` is measured"),
        ("evaluate.metric_for_verdict=similarity", "no encoder here"),
        ("evaluate.metrics=[la_rougeL, bertscore]", "no encoder here"),
    ],
)
def test_a_comparison_is_refused_before_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str, says: str
) -> None:
    def none_here(metrics: set[str], **_: object) -> None:
        assert metrics <= {"similarity", "bertscore"}, "text metrics need no model"
        raise InputError("no encoder here")

    monkeypatch.setattr("homestretch.verbs.compare._train", trains)
    monkeypatch.setattr("homestretch.verbs.compare.available_scorers", none_here)
    given = {"a": {"stages": ["sft"]}, "b": {"stages": ["ift"]}}
    with pytest.raises(InputError, match=says):
        compare(given, out=tmp_path / "out", seeds=[0], overrides=[override])
    assert not (tmp_path / "out").exists()


def outputs(arm: str, scores: list[float], *, lower: list[str] | None) -> list[dict[str, Any]]:
    """Rows whose rewards are the scores, alike in all else but that each is as much shorter as its score is high."""
    row = {"arm": arm, "text": "a b c", "references": ["a b c"], "source": "", "terminated": True, "tokens": 3}
    return [
        row | {"id": str(i), "rewards": {"toxicity": v, "concise": 10 * v}, "lower_is_better": lower}
        for i, v in enumerate(scores)
    ]


def test_a_method_has_one_arm(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.generations.parent.mkdir(parents=True)
    own = outputs("rl_raw", [1.0], lower=None) + outputs("rl_raw@t1", [1.0], lower=None)

    def write(rows: list[dict[str, Any]]) -> None:
        run.generations.write_text("".join(json.dumps(row) + "\n" for row in rows))

    write(own + outputs("rl_post", [1.0], lower=None))
    assert [row["arm"] for row in raw_rows([run])] == ["rl_raw", "rl_raw@t1"]
    write(own + outputs("ml_raw", [0.0], lower=None))
    with pytest.raises(InputError, match=r"outputs of `ml_raw` and `rl_raw`, and a method has those of one model"):
        raw_rows([run])


LOW, HIGH = [0.1] * 6 + [0.2] * 6, [0.8] * 6 + [0.9] * 6


@pytest.mark.parametrize(("lower", "better", "said"), [(["toxicity"], "rl_raw", "better"), (None, "ml_raw", "worse")])
def test_less_is_better_of_a_reward_of_negative_weight(lower: list[str] | None, better: str, said: str) -> None:
    rows = outputs("rl_raw", LOW, lower=lower) + outputs("ml_raw", HIGH, lower=lower)
    results = evaluate_rows(rows, metrics=["rougeL"])
    measured = results.arms["rl_raw"].metrics
    assert measured["rewards/toxicity"].higher_is_better is (lower is None)
    assert measured["rewards/concise"].higher_is_better is True
    [compared] = [c for c in results.comparisons if c.metric == "rewards/toxicity"]
    assert compared.difference == pytest.approx(-0.7) and outcome(compared) == said
    assert rank_rows(rows, "rewards/toxicity")[0][0] == better


def test_a_front_over_what_is_to_fall_is_that_of_its_opposite() -> None:
    """Less of both: the arm of less toxicity alone is on the front with the other, which is more concise; where more is
    better of both, one beats the other."""
    rows = outputs("low", LOW, lower=["toxicity"]) + outputs("high", HIGH, lower=["toxicity"])
    keys = ["rewards/toxicity", "rewards/concise"]
    names, found = front_rows(rows, keys)
    assert dict(zip(names, found.members, strict=True)) == {"low": True, "high": True}
    evaluation = EvaluateConfig(rewards=TOXIC)
    made = front_of(rows, keys, {}, [], evaluation)
    assert made.reference == {"rewards/toxicity": pytest.approx(0.85), "rewards/concise": pytest.approx(1.5)}
    assert front_rows([{**row, "lower_is_better": None} for row in rows], keys)[1].members == [False, True]


def test_where_two_sources_differ_in_the_direction_none_is_better() -> None:
    rows = outputs("rl_raw", LOW, lower=["toxicity"]) + outputs("ml_raw", HIGH, lower=None)
    results = evaluate_rows(rows, metrics=["rougeL"])
    assert {c.metric: c.higher_is_better for c in results.comparisons}["rewards/toxicity"] is None
    with pytest.raises(RecipeError, match="neither direction of `rewards/toxicity` is better"):
        rank_rows(rows, "rewards/toxicity")


def test_the_direction_is_kept_in_the_file_of_the_outputs(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    [row] = outputs("rl_raw", [0.5], lower=["toxicity"])
    path.write_text(json.dumps(row) + "\n")
    assert read_rows(path)[0]["lower_is_better"] == ["toxicity"]
    path.write_text(json.dumps(row | {"lower_is_better": "toxicity"}) + "\n")
    with pytest.raises(DataError, match="`lower_is_better` is not of the kind"):
        read_rows(path)


def test_a_reward_of_negative_weight_has_no_share() -> None:
    terms = {"model": 1.0, "toxicity": {"classifier": "org/toxic", "weight": -0.5}}
    given = load_recipe({"stages": ["sft", "negatives", "reward", {"rloo": {"rewards": terms}}]})
    with pytest.raises(RecipeError, match="weight of `toxicity` is negative, and shares are 0 to 1; turn the reward"):
        at_weights(given, [0.2, 0.5])
    backwards = load_recipe(
        {"stages": ["sft", "negatives", "reward", {"rloo": {"rewards": dict(reversed(terms.items()))}}]}
    )
    with pytest.raises(RecipeError, match="weight of `toxicity` is negative"):
        at_weights(backwards, [0.2, 0.5])


@pytest.fixture
def one(tmp_path: Path) -> Path:
    path = tmp_path / "one.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in outputs("mine", LOW, lower=None)))
    return path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--headline", "nonsense"], "`nonsense` is no metric"),
        (["--headline", "rougel"], "did you mean `rougeL`"),
        (["--headline", "rewards/toxic"], "did you mean `rewards/toxicity`"),
        (["--headline", "reward"], "`reward` needs outputs that have it"),
        (["--headline", "bleurt"], "`bleurt` needs a checkpoint"),
        (["--metric", "rougl"], "did you mean `rougeL`"),
        (["--metric", "bleurt"], "`bleurt` needs a checkpoint"),
        (["--metric", "rouge1", "--headline", "rougeL"], "the verdict is by `rougeL`, but only `rouge1` is measured"),
    ],
)
def test_measuring_again_tells_names(
    one: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["evaluate", str(one), *arguments]) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_the_first_of_the_metrics_decides_where_none_is_named(one: Path) -> None:
    assert measure([one]).headline_metric == "la_rougeL"
    assert measure([one], metrics=["rouge1", "la_rougeL"]).headline_metric == "la_rougeL"
    assert measure([one], metrics=["chrf", "rouge1"]).headline_metric == "chrf"
    assert measure([one], headline_metric="rewards/toxicity").headline_metric == "rewards/toxicity"


def test_a_verdict_by_what_was_not_measured_says_how_to_choose_another() -> None:
    def says(metrics: dict[str, Measured], metric: str) -> str:
        arms = dict.fromkeys(("ml_raw", "rl_raw"), Arm(metrics=metrics))
        return verdict(Results(headline_metric=metric, arms=arms)).sentence

    found = {"chrf": Measured(value=1.0, low=0.0, high=2.0, n=3)}
    for metric in ("similarity", "failures/empty"):
        assert "was not measured here; choose another metric with `homestretch evaluate RUN --h" in says(found, metric)
    assert "as they have no answers to the same prompts" in says(found, "chrf")


def test_names_are_checked_by_one_function() -> None:
    with pytest.raises(ValueError, match="`rewards/x` is no metric"):
        check_metrics(None, "rewards/x", rewards=["y"], missing={})
    check_metrics(None, "rewards/y", rewards=["y"], missing={})

"""The run doctor: each check speaks on a run that has its illness, once, and is silent on a healthy one."""

from __future__ import annotations

from typing import Any

import pytest

from homestretch.training.doctor import CHECKS, RECENT, Doctor

METRIC = "la_rougeL"
HEALTHY = {
    "objective/kl": 0.5,
    "val/ratio_tail": 0.01,
    "completions/clipped_ratio": 0.1,
    "completions/mean_length": 20.0,
    "objective/entropy": 1.5,
    "val/explained_variance": 0.3,
    "reward": 1.0,
}


def row(**changes: float) -> dict[str, Any]:
    return HEALTHY | {key.replace("__", "/"): value for key, value in changes.items()}


def score(value: float) -> dict[str, Any]:
    return {f"eval/{METRIC}": value}


def told(rows: list[dict[str, Any]], *, stop: bool = False) -> list[tuple[list[str], bool]]:
    doctor = Doctor(METRIC, stop=stop)
    return [doctor.watch(one) for one in rows]


def sentences(rows: list[dict[str, Any]]) -> list[str]:
    return [sentence for said, _ in told(rows) for sentence in said]


def rising(rewards: list[float], scores: list[float]) -> list[dict[str, Any]]:
    """A validation before the first round and after each."""
    rows = [score(scores[0])]
    for reward, value in zip(rewards, scores[1:], strict=True):
        rows += [row(reward=reward), score(value)]
    return rows


def test_a_healthy_run_is_left_alone() -> None:
    rows: list[dict[str, Any]] = []
    for i in range(15):
        rows += [row(reward=1 + i / 10, objective__kl=i / 10, objective__entropy=1.5 - i / 20), score(30 + i / 5)]
    assert sentences(rows) == []


SICK = {
    "negative_kl": ([row(objective__kl=-0.2)] * RECENT, "bf16 to false"),
    "ratio_tail": ([row(val__ratio_tail=0.06)], "halve learning_rate"),
    "missing_ends": ([row()] * 2 + [row(completions__clipped_ratio=0.3)] * 2, "missing_eos_penalty"),
    "length_drift": ([row()] * RECENT + [row(completions__mean_length=31.0)] * RECENT, "raise length_coef"),
    "entropy_collapse": ([row()] + [row(objective__entropy=0.4)] * RECENT, "ent_coef"),
    "useless_value": ([row(val__explained_variance=-0.1)] * 10, "value_warmup_steps"),
    "divergence": (rising([1.0, 2.0, 3.0], [30.0, 31.0, 30.5, 30.0]), "keep the best checkpoint"),
    "silence": ([{"eval/empty": 0.04}, {"eval/empty": 0.06}], "dataset.prompt_suffix"),
}


def test_each_check_has_a_case() -> None:
    assert SICK.keys() == CHECKS.keys()


@pytest.mark.parametrize("name", SICK)
def test_a_sick_run_hears_one_sentence_at_its_last_row(name: str) -> None:
    rows, knob = SICK[name]
    answers = told(rows)
    assert [said for said, _ in answers[:-1]] == [[]] * (len(rows) - 1)
    (last,) = answers[-1][0]
    assert knob in last and last.endswith(".")
    assert [other for other, check in CHECKS.items() if check(rows, METRIC)] == [name]


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([row(objective__kl=-0.05)] * RECENT, id="rounding below zero"),
        pytest.param([row(objective__kl=-0.2)] * 2 + [row(objective__kl=0.1)], id="KL back above zero"),
        pytest.param([row(val__ratio_tail=0.05)], id="5 % of ratios"),
        pytest.param([row(completions__clipped_ratio=0.45)] * 5, id="many missing ends from the start"),
        pytest.param([row()] + [row(completions__clipped_ratio=0.19)] * 4, id="9 points more missing ends"),
        pytest.param([row()] * RECENT + [row(completions__mean_length=29.0)] * RECENT, id="1.45 times longer"),
        pytest.param([row()] * RECENT + [row(completions__mean_length=13.0)] * RECENT, id="0.65 times shorter"),
        pytest.param([row()] + [row(objective__entropy=0.55)] * RECENT, id="entropy above a third"),
        pytest.param([row(val__explained_variance=-0.5)] * 9, id="a young value head"),
        pytest.param([row(val__explained_variance=-0.5)] * 7 + [row()] * RECENT, id="a value head that learned"),
        pytest.param(rising([1.0, 2.0, 3.0], [30.0, 31.0, 30.9, 30.8]), id="a metric that wavers"),
        pytest.param(rising([1.0, 2.0, 3.0], [30.0, 31.0, 30.0, 30.9]), id="a metric that came back"),
        pytest.param(rising([2.0, 1.0, 0.5], [30.0, 31.0, 30.0, 29.0]), id="reward falls as well"),
        pytest.param(rising([1.0, 2.0], [30.0, 31.0, 30.0]), id="one bad validation"),
        pytest.param([{"eval/empty": 0.05}], id="5 % of empty outputs"),
    ],
)
def test_on_this_side_of_the_limit_it_is_silent(rows: list[dict[str, Any]]) -> None:
    assert sentences(rows) == []


def test_samples_that_mostly_do_not_end_are_named_even_if_it_was_always_so() -> None:
    (sentence,) = sentences([row(completions__clipped_ratio=0.6)] * RECENT)
    assert "60% of the samples do not end (at first 60%)" in sentence


def test_where_nothing_is_rewarded_no_setting_of_rewards_is_named() -> None:
    unrewarded = [{k: v for k, v in row(completions__clipped_ratio=0.6).items() if k != "reward"}] * RECENT
    longer = [one | {"completions/mean_length": 90.0} for one in unrewarded]
    (sentence,) = sentences(unrewarded + longer)
    assert sentence.endswith("raise max_completion_length if references are longer.")


def test_shrinking_samples_get_the_other_advice() -> None:
    (sentence,) = sentences([row()] * RECENT + [row(completions__mean_length=11.0)] * RECENT)
    assert "0.6 times" in sentence and "lower length_coef" in sentence


def test_a_metric_that_is_best_before_training_counts() -> None:
    (sentence,) = sentences(rising([1.0, 2.0], [31.0, 30.5, 30.0]))
    assert "la_rougeL falls (31 to 30)" in sentence


def heard(metric: str, scores: list[float]) -> list[str]:
    """What is said of a metric while the reward rises in each round."""
    doctor, said = Doctor(metric, stop=True), []
    for i, value in enumerate(scores):
        for one in (row(reward=float(i)), {f"eval/{metric}": value}):
            sentences, stop = doctor.watch(one)
            assert stop == bool(sentences)
            said += sentences
    return said


def test_a_metric_that_should_fall_may_fall() -> None:
    assert heard("failures", [0.75, 0.4, 0.3, 0.2]) == []
    assert heard("nll", [2.5, 2.2, 2.0, 1.9]) == []
    (sentence,) = heard("failures", [0.75, 0.2, 0.35, 0.4])
    assert "failures rises (0.2 to 0.4): the reward is being exploited" in sentence


@pytest.mark.parametrize(
    ("metric", "scores", "speaks"),
    [
        ("failures", [0.3, 0.2, 0.29, 0.29], False),
        ("failures", [0.3, 0.2, 0.31, 0.31], True),
        ("failures", [0.1, 0.0, 0.02, 0.02], False),
        ("nll", [2.5, 2.0, 2.01, 2.01], False),
        ("nll", [2.5, 2.0, 2.03, 2.03], True),
        ("la_rougeL", [20, 30, 29.8, 29.8], False),
        ("la_rougeL", [20, 30, 29, 29], True),
        ("reward", [0.1, 0.5, 0.4, 0.4], False),
    ],
)
def test_how_far_is_worse_is_in_the_unit_of_the_metric(metric: str, scores: list[float], speaks: bool) -> None:
    assert bool(heard(metric, scores)) == speaks


def test_a_sentence_is_said_once_until_its_cause_has_gone() -> None:
    doctor = Doctor(METRIC)
    tails = [0.2, 0.3, 0.01, 0.2]
    heard = [doctor.watch(row(val__ratio_tail=tail))[0] for tail in tails]
    assert [len(sentences) for sentences in heard] == [1, 0, 0, 1]
    assert heard[0][0].startswith("20%")


def test_two_causes_at_once_are_both_named_and_an_old_one_is_not_repeated() -> None:
    doctor = Doctor(METRIC)
    (first,), _ = doctor.watch(row(val__ratio_tail=0.2))
    for _ in range(RECENT - 1):
        doctor.watch(row(val__ratio_tail=0.2, objective__kl=-1.0))
    (second,), _ = doctor.watch(row(val__ratio_tail=0.2, objective__kl=-1.0))
    assert "learning_rate" in first and "bf16" in second
    silent = {"eval/empty": 0.1, "val/ratio_tail": 0.2}
    assert len(Doctor(METRIC).watch(silent)[0]) == 2, "two at once are two sentences"


def test_stop_ends_a_run_that_exploits_its_reward_and_no_other() -> None:
    exploited, _ = SICK["divergence"]
    assert [stop for _, stop in told(exploited, stop=True)] == [False] * (len(exploited) - 1) + [True]
    assert not any(stop for _, stop in told(exploited))
    for name in SICK.keys() - {"divergence"}:
        assert not any(stop for _, stop in told(SICK[name][0], stop=True)), name


def test_numbers_that_are_missing_or_null_are_passed_over() -> None:
    rows = [row(objective__kl=-1.0), row() | {"objective/kl": None}, {"doctor": "a sentence"}, row(objective__kl=-1.0)]
    assert sentences(rows) == []
    assert len(sentences([*rows, row(objective__kl=-1.0)])) == 1

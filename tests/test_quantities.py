"""What is known of a logged quantity by its name, and alarms that read several of them."""

from __future__ import annotations

import pytest
from test_alarms_training import Rows, columns, fall, loss, told

from homestretch.config.distill import DistillConfig
from homestretch.config.dpo import DPOConfig
from homestretch.config.ppo import PPOConfig
from homestretch.config.sft import SFTConfig
from homestretch.training.alarms import ALARMS, watched
from homestretch.training.doctor import watcher
from homestretch.training.quantities import direction


@pytest.mark.parametrize("key", ["nll", "eval/nll", "eval/golden_jsd", "eval/failures", "eval/mse", "loss/reward"])
def test_what_should_fall_is_known_by_its_name(key: str) -> None:
    assert direction(key) == -1


@pytest.mark.parametrize("key", ["reward", "eval/la_rougeL", "eval/auroc/too_long", "objective/golden/failures"])
def test_everything_else_should_rise(key: str) -> None:
    assert direction(key) == 1


@pytest.mark.parametrize(
    ("metric", "before", "after", "wavering"),
    [("la_rougeL", 30.0, 27.0, 28.0), ("failures", 0.2, 0.32, 0.29), ("nll", 2.0, 2.07, 2.05)],
)
def test_beside_a_margin_a_metric_gets_worse_in_its_own_way_and_unit(
    metric: str, before: float, after: float, wavering: float
) -> None:
    def rows(then: float) -> Rows:
        return columns(6, margin=float, **{f"eval__{metric}": lambda n: before if n < 4 else then})

    config = DPOConfig(metric_for_best_model=metric)
    ((step, sentence),) = told(rows(after), config)
    assert step == 6 and f"`eval/{metric}`, which is not trained on, has got worse" in sentence
    assert f"({before:.3g} to {after:.3g})" in sentence
    assert told(rows(wavering), config) == []
    assert told(rows(2 * before - after), config) == [], "it has got better"


def test_the_law_of_a_metric_that_should_fall_is_read_upside_down() -> None:
    config = PPOConfig(metric_for_best_model="failures")

    def rows(sign: float) -> Rows:
        return columns(
            60, reward=float, eval__failures=lambda n: 0.5 - sign * fall(n) / 4, objective__kl=lambda n: n / 2
        )

    assert not ALARMS["over_optimisation"](rows(-1.0), watched(config)), "failures become fewer in the end"
    sentence = ALARMS["over_optimisation"](rows(1.0), watched(config))["eval/failures"]
    assert "`eval/failures` follows" in sentence
    assert "with its lowest point at 9 nats" in sentence and "has risen from 0.25" in sentence


def test_each_signal_of_an_alarm_says_its_own_sentence_once() -> None:
    config = DistillConfig(teacher_name_or_path="teacher", oracle_name_or_path="oracle", doctor="stop")
    rows = columns(
        12,
        divergence=lambda n: 1 / n,
        eval__nll=lambda n: 2.0 + 0.1 * abs(n - 3),
        eval__proxy=lambda n: 10 / n,
        eval__golden=lambda n: 50.0 + abs(n - 6),
    )
    watch = watcher(config)
    assert watch is not None
    answers = [(row["step"], *watch(row)) for row in rows]
    (first, (nll,), _), (second, (golden,), _) = [answer for answer in answers if answer[1]]
    assert (first, second) == (6, 9) and "while `eval/nll`" in nll and "while `eval/golden`" in golden
    assert [step for step, _, stop in answers if stop] == [6, 9], "either would end the stage"


def test_each_curve_may_leave_its_law() -> None:
    rows = columns(60, loss=loss, eval__nll=lambda n: loss(n) if n % 2 == 0 else None)
    said = [sentence for _, sentence in told(rows, SFTConfig())]
    assert all(sum(s.startswith(f"Alarm (power law): `{key}` has") for s in said) == 1 for key in ("loss", "eval/nll"))

"""The doctor asks about the rows that matter, and says what it would say if it asked about all of them at each row."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from homestretch.config.distill import DistillConfig
from homestretch.config.dpo import DPOConfig
from homestretch.config.ppo import PPOConfig
from homestretch.config.reward import RewardConfig
from homestretch.config.sft import SFTConfig
from homestretch.config.training import TrainingConfig
from homestretch.config.wbc import WBCConfig
from homestretch.training.alarms import ALARMS, watched
from homestretch.training.asked import Asked, at_ends, has
from homestretch.training.doctor import CHECKS, READS, Doctor

Row = dict[str, Any]
METRIC = "la_rougeL"
TEACHERS = {"teacher_name_or_path": "teacher", "oracle_name_or_path": "oracle"}
STAGES: dict[str, tuple[TrainingConfig, int]] = {
    "sft": (SFTConfig(), 400),
    "wbc": (WBCConfig(), 400),
    "dpo": (DPOConfig(), 300),
    "reward": (RewardConfig(metric_for_best_model=METRIC), 200),
    "distill": (DistillConfig(**TEACHERS), 300),
    "ppo": (PPOConfig(golden={"judge": {"function": "mine:judge"}}), 150),
}
"""A stage of each kind of log, and how many rounds it needs until much is said of it."""


def rows_of(name: str, count: int, chance: random.Random) -> list[Row]:
    """The log of a stage that learns and then goes wrong in every way: losses rise, metrics fall, values go missing."""
    rows = []
    for step in range(count + 1):
        wrong = max(2 * step / count - 1, 0.0)
        noise = 1 + 0.01 * chance.gauss(0, 1)
        loss, reward = (1 + (step + 1) ** -0.5 + 2 * wrong) * noise, step / count * noise
        row: Row = {"loss": loss, "nll": loss, "divergence": -loss if step % 50 == 7 else reward, "margin": reward}
        row |= {"reward": reward if name in ("ppo", "wbc") else None, "loss/reward": 2 - reward}
        if name in ("ppo", "distill"):
            row |= {"completions/clipped_ratio": wrong, "completions/mean_length": 20 * (1 + 3 * wrong)}
        if name == "ppo":
            kl = None if step % 9 == 4 else -1.0 if step % 40 > 35 else 5 * step / count
            row |= {"objective/kl": kl, "objective/entropy": 1.5 - 1.4 * wrong, "val/ratio_tail": 0.1 * wrong * noise}
            row |= {"val/explained_variance": 0.3 - wrong, "objective/golden/judge": math.sin(3 * reward) * noise}
        if step:
            rows.append({"step": step} | row)
        if step % 7 == 0:
            score = 30 + 5 * reward - 20 * wrong
            row = {METRIC: score, "nll": loss, "loss": loss, "mse": loss, "failures": 0.2 + wrong, "empty": wrong / 5}
            row |= {"auroc": 0.5 + reward / 3, "auroc/other": 0.9 - wrong / 2, "reward": 1 - wrong}
            row |= {"proxy_jsd": 1 - reward, "golden_jsd": loss} | ({"proxy": 1 - reward} if step % 3 else {})
            rows.append({"step": step} | {f"eval/{key}": value for key, value in row.items()})
    return rows


def asked_of_all(rows: list[Row], config: TrainingConfig) -> list[list[str]]:
    """What is new at each row, with every check and alarm asked about all rows so far."""
    seen, said, answers = watched(config, held_out="other"), set[tuple[str, str]](), []
    for end in range(1, len(rows) + 1):
        found = {(name, ""): sentence for name, check in CHECKS.items() if (sentence := check(rows[:end], METRIC))}
        for name, alarm in ALARMS.items():
            found |= {(name, signal): sentence for signal, sentence in alarm(rows[:end], seen).items()}
        answers.append([sentence for cause, sentence in found.items() if cause not in said])
        said = set(found)
    return answers


@pytest.mark.parametrize("name", STAGES)
def test_the_answers_are_those_about_all_rows(name: str) -> None:
    config, count = STAGES[name]
    rows = rows_of(name, count, random.Random(name))
    doctor = Doctor(METRIC, watched=watched(config, held_out="other"))
    expected = asked_of_all(rows, config)
    assert [sorted(doctor.watch(row)[0]) for row in rows] == [sorted(answer) for answer in expected]
    assert sum(map(len, expected)) >= (8 if name == "ppo" else 2), "or nothing was compared"


class Counted(dict[str, Any]):
    """A row that counts how often it is looked at."""

    looks = 0

    def get(self, key: str, default: Any = None) -> Any:
        Counted.looks += 1
        return super().get(key, default)


@pytest.mark.parametrize("name", ["sft", "dpo", "wbc"])
def test_a_row_is_looked_at_a_few_times_however_long_the_stage(name: str) -> None:
    """A law is asked where a block is full, at most 64 times until a series has doubled; asked about all rows at each,
    every row would be looked at 12,000 times."""
    config, _ = STAGES[name]
    doctor, Counted.looks = Doctor(METRIC, watched=watched(config)), 0
    for step in range(1, 2001):
        doctor.watch(Counted(step=step, loss=1 + 1 / step, nll=1 + 1 / step, margin=1.0, reward=1.0, grad_norm=1.0))
    assert Counted.looks < 200 * 2000


def test_every_check_has_the_key_that_it_reads() -> None:
    assert READS.keys() | {"divergence"} == CHECKS.keys()


def test_a_long_series_is_known_by_its_ends() -> None:
    rows = [{"n": i} for i in range(35)]
    for count, left_out in ((9, []), (20, []), (21, [10]), (35, list(range(10, 25)))):
        shown: list[Row] = []
        at_ends(lambda some, shown=shown: shown.extend(some) or {})(rows[:count])
        assert [row["n"] for row in shown] == [i for i in range(count) if i not in left_out]


def test_what_was_said_holds_until_it_is_asked_again() -> None:
    one = Asked(lambda rows: {"": str(len(rows))}, has("a", "b"), lambda row, count: count % 2 == 0)
    rows: list[Row] = [{"a": 1}, {"b": 0.0}, {"c": 1}, {"a": None}, {"a": 2}, {"a": 3}]
    assert [one.see(row).get("") for row in rows] == [None, "2", "2", "2", "2", "4"]

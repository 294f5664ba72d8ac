"""What the doctor expects of a stage `distill`: the teacher's weights, and time to write and to read, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
from test_verbs import LENGTHS, SHAPE, estimated

from homestretch.config.distill import DistillConfig
from homestretch.config.recipe import load_recipe
from homestretch.costs.memory import CPU
from homestretch.costs.time import Machine
from homestretch.errors import InputError
from homestretch.verbs.estimates import load_of
from homestretch.verbs.teaching import teaching, teaching_seconds

MACHINE = Machine(rate=200 * SHAPE.parameters, bandwidth=2 * 4 * SHAPE.parameters)
"""Half of its limits are reached: 100 operations a second for each parameter, all of which are read in a second."""


def seconds(settings: dict[str, Any]) -> float:
    config = DistillConfig(teacher_name_or_path="teacher", **settings)
    load = load_of(load_recipe({"stages": ["sft"]}), LENGTHS)
    return teaching_seconds(SHAPE, SHAPE, config, load, MACHINE, rows=20)


# 100 prompts of 10 tokens with texts of 6, whoever writes and reads. Twenty texts at a time take 6 steps of a second:
# 30 s for 100 of them, and 2 operations a token to read their prompts, 20 s. Reading all 16 tokens takes 32 s.
READ, WRITTEN = 32.0, 50.0


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"source": "data"}, READ),
        ({"source": "data", "num_train_epochs": 3}, 3 * READ),
        ({"source": "data", "num_train_epochs": 3, "top_k": 8}, READ),
        ({"source": "data", "num_train_epochs": 3, "keep_states": True}, READ),
        ({"num_train_epochs": 3}, WRITTEN + 3 * READ),
        ({"num_train_epochs": 3, "num_generations": 2}, 2 * (WRITTEN + 3 * READ)),
        ({"num_train_epochs": 3, "divergence": "sequence"}, WRITTEN),
        ({"num_train_epochs": 3, "source": "online_teacher"}, 3 * (WRITTEN + READ)),
        ({"source": "online_student", "max_steps": 5, "train_batch_size": 20}, WRITTEN + READ),
        ({"source": "online_student", "train_until": {"samples": 50}}, (WRITTEN + READ) / 2),
        # half of 100 texts, 16 at a time because a step has as many of them: 6 s each, then their prompts
        ({"source": {"online_student": 0.5, "data": 0.5}}, 50 / 16 * 6 + 10 + READ),
    ],
    ids=str,
)
def test_the_time_of_writing_and_reading_by_hand(settings: dict[str, Any], expected: float) -> None:
    assert seconds(settings) == pytest.approx(expected)


def test_learning_takes_as_long_as_from_as_many_pairs() -> None:
    distill = {"distill": {"teacher_name_or_path": "teacher", "num_generations": 2}}
    assert estimated([distill])["distill"] == estimated([{"sft": {"num_train_epochs": 2}}])["sft"]


def test_a_teacher_is_held_where_steps_ask_it(tmp_path: Path) -> None:
    teacher = tiny.save(tmp_path / "teacher", "llama")
    parameters = sum(p.numel() for p in tiny.llama(vocab=64).parameters())

    def held(**settings: Any) -> float:
        recipe = load_recipe({"stages": [{"distill": {"teacher_name_or_path": teacher, **settings}}]})
        return teaching(recipe, SHAPE, LENGTHS, machine=MACHINE, numbers=CPU, rows=20)["distill"][0]

    assert held() == 4 * parameters
    assert held(top_k=8) == held(divergence="sequence") == 0
    assert held(top_k=8, source="online_student") == 4 * parameters
    assert held(divergence="sequence", source="online_teacher") == 4 * parameters
    recipe = load_recipe({"stages": [{"distill": {"teacher_name_or_path": str(tmp_path / "none")}}]})
    with pytest.raises(InputError, match="cannot be read"):
        teaching(recipe, SHAPE, LENGTHS, machine=MACHINE, numbers=CPU, rows=20)

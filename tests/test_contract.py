"""Promises that every member of a table keeps: algorithms, stages, negatives, metrics."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import math
from pathlib import Path

import pytest
import torch
from algorithm_cases import CASES, Case, Killed, models_of, train
from test_recipe import REQUIRED
from toy import trunk_of

from homestretch import algorithms
from homestretch.algorithms.base import Models, Offline
from homestretch.algorithms.ppo import PPO
from homestretch.batch import Batch
from homestretch.config.base import Config
from homestretch.config.recipe import DatasetConfig, Recipe, dump, load_recipe
from homestretch.config.stages import STAGES
from homestretch.config.yaml import load_text
from homestretch.metrics import METRICS
from homestretch.negatives import CORRUPTIONS
from homestretch.training.pipeline import STAGE_FUNCTIONS

PARTS = {"reference": "reference", "rollouts": "sample", "rewards": "reward", "teacher": "teacher"}
"""Which of its models an algorithm cannot do without, by what it needs."""


def test_every_algorithm_file_is_here():
    files = {p.stem for p in Path(algorithms.__file__).parent.glob("*.py")} - {"__init__", "base", "rollouts", "groups"}
    assert files == {inspect.getmodule(type(c.make(c.config))).__name__.rpartition(".")[2] for c in CASES.values()}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_settings_survive_a_round_trip_through_yaml(case):
    reward_model = "somewhere" if "rollouts" in case.knows else None
    before = {"reward": ["negatives"], "alol": [{"value": {"responses": "stored"}}]}.get(case.stage, [])
    recipe = load_recipe({"stages": [*before, {case.stage: case.config}], "reward_model_name_or_path": reward_model})
    text = dump(recipe)
    again = load_recipe(load_text(text, name="dumped").values)
    assert again == recipe and again.find(case.stage) == case.config
    assert dump(again) == text


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_needs_are_honest(case, tmp_path):
    """With what it says it needs it works; without any of the optional parts of that it does not."""
    algorithm, batch = case.make(case.config), case.batches(0)
    assert algorithm.needs == case.knows
    models = models_of(case, trunk_of(heads=case.heads), tokens=3)
    assert isinstance(algorithm, Offline) or "rollouts" in algorithm.needs
    work(case, models, batch)
    for column in case.reads:
        with pytest.raises(AssertionError):
            work(case, models, dataclasses.replace(batch, **{column: None}))
    for need, part in PARTS.items():
        if getattr(models, part) is not None and need in algorithm.needs:
            with pytest.raises(AssertionError):
                work(case, dataclasses.replace(models, **{part: None}), batch)


def work(case: Case, models: Models, batch: Batch) -> None:
    """One round, and the loss of its first update."""
    algorithm = case.make(case.config)
    made = next(algorithm.stream(models, [(0, batch)]))
    algorithm.loss(models, next(iter(made.updates)))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_step_is_finite_changes_weights_and_has_well_formed_terms(case, tmp_path):
    before = {k: v.detach().clone() for k, v in trunk_of(heads=case.heads).named_parameters()}
    after, seen = train(case, tmp_path)
    assert all(torch.isfinite(v).all() for v in after.values())
    assert any(not torch.equal(after[k], before[k]) for k in before)
    for head in case.heads:
        assert not torch.equal(after[f"heads.{head}.linear.weight"], before[f"heads.{head}.linear.weight"])
    assert seen
    for terms in seen:
        assert terms.terms.shape == terms.mask.shape and terms.terms.requires_grad
        assert terms.terms.dtype == torch.float32
        for name, (values, mask) in terms.diagnostics.items():
            assert values.shape == mask.shape, name
            assert not values.requires_grad, name
            assert all(math.isfinite(v) for v in values[mask.bool()].tolist()), name


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_same_seed_gives_the_same_bits(case, tmp_path):
    first, _ = train(case, tmp_path / "first")
    second, _ = train(case, tmp_path / "second")
    assert all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_killed_and_started_again_gives_the_same_bits(case, tmp_path):
    whole, _ = train(case, tmp_path / "whole", rounds=3)
    with pytest.raises(Killed):
        train(case, tmp_path / "killed", rounds=3, killed_in=2)
    resumed, seen = train(case, tmp_path / "killed", rounds=3)
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)
    assert 0 < len(seen) < len(train(case, tmp_path / "again", rounds=3)[1])


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_state_survives_being_written_down(case):
    algorithm = case.make(case.config)
    if isinstance(algorithm, PPO):
        algorithm.kl_coef, algorithm.round = 0.125, 7
    other = case.make(case.config)
    other.load_state(algorithm.state())
    assert other.state() == algorithm.state()


def documented_fields(cls: type[Config]) -> dict[str, str | None]:
    return {name: field.description for name, field in cls.model_fields.items()}


def test_every_stage_can_be_run():
    assert STAGE_FUNCTIONS.keys() == STAGES.keys()
    assert len(STAGES) == 18


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_is_documented(name):
    function = STAGE_FUNCTIONS[name]
    assert list(inspect.signature(function).parameters) == ["context", "config", "folder"]
    assert function.__doc__ and inspect.getmodule(function).__doc__
    tree = ast.parse(inspect.getsource(inspect.getmodule(STAGES[name])))
    own = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == STAGES[name].__name__)
    assert ast.get_docstring(own), "a docstring of its own, not the base's"
    missing = [field for field, text in documented_fields(STAGES[name]).items() if not text]
    assert not missing


@pytest.mark.parametrize("cls", [Recipe, DatasetConfig])
def test_shared_settings_are_documented(cls):
    assert not [field for field, text in documented_fields(cls).items() if not text]


@pytest.mark.parametrize("name", STAGES)
def test_defaults_of_a_stage_are_its_settings_written_out(name):
    config = STAGES[name](**REQUIRED.get(name, {}))
    assert STAGES[name].parse(config.model_dump(mode="json"), where="here") == config


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_says_what_it_is(name):
    assert name == name.lower() and name.isidentifier()
    assert CORRUPTIONS[name].factory.__doc__ and CORRUPTIONS[name].description


@pytest.mark.parametrize("key", METRICS)
def test_a_metric_has_its_key_and_an_equation(key):
    metric = METRICS[key]
    assert metric.key == key
    assert metric.equation.strip() and len(metric.equation) < 200

"""Promises that every member of a table keeps: algorithms, stages, negatives, metrics."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import accelerator, batch_of, pairs_of, plan, ppo_models, prompts_of, trunk_of

from homestretch import algorithms
from homestretch.algorithms.base import Models, Offline
from homestretch.algorithms.ppo import PPO
from homestretch.algorithms.reward_model import RewardModelling
from homestretch.algorithms.sft import SFT
from homestretch.batch import LossTerms
from homestretch.config.base import Config
from homestretch.config.ppo import PPOConfig
from homestretch.config.recipe import DatasetConfig, Recipe, dump, load_recipe
from homestretch.config.reward import RewardConfig
from homestretch.config.sft import SFTConfig
from homestretch.config.stages import STAGES
from homestretch.config.training import TrainingConfig
from homestretch.config.yaml import load_text
from homestretch.metrics import METRICS
from homestretch.negatives import CORRUPTIONS
from homestretch.policies.policy import Policy
from homestretch.training.loop import fit
from homestretch.training.pipeline import STAGE_FUNCTIONS

SMALL_PPO = {"rollout_batch_size": 8, "train_batch_size": 4, "num_generations": 4, "value_warmup_steps": 0}


@dataclass(frozen=True)
class Case:
    """An algorithm with settings that differ from the defaults, and the batches it learns from."""

    stage: str
    config: TrainingConfig
    make: Any
    batches: Any
    heads: tuple[str, ...] = ()
    knows: frozenset[str] = frozenset()
    """What `models` gives and its batches hold: no more than what `needs` says."""


CASES = {
    "sft": Case("sft", SFTConfig(learning_rate=3e-5, max_steps=2), lambda c: SFT(), batch_of, (), frozenset({"pairs"})),
    "reward classifier": Case(
        "reward",
        RewardConfig(held_out_fraction=0.25),
        lambda c: RewardModelling(c.kind),
        pairs_of,
        ("reward",),
        frozenset({"pairs", "negatives"}),
    ),
    "reward pairwise": Case(
        "reward",
        RewardConfig(kind="pairwise", lora_target_modules=["q_proj", "v_proj"]),
        lambda c: RewardModelling(c.kind),
        pairs_of,
        ("reward",),
        frozenset({"pairs", "negatives"}),
    ),
    "ppo": Case(
        "ppo",
        PPOConfig(kl="off", reward_clip_range=None, **SMALL_PPO),
        PPO,
        lambda n: prompts_of(n, size=8),
        ("value",),
        frozenset({"pairs", "rewards", "reference", "value", "rollouts"}),
    ),
    "ppo look-ahead": Case(
        "ppo",
        PPOConfig(lookahead_k=3, lookahead_baseline="set", average="sequence", kl_estimator="k3", **SMALL_PPO),
        PPO,
        lambda n: prompts_of(n, size=8),
        ("value",),
        frozenset({"pairs", "rewards", "reference", "value", "rollouts"}),
    ),
}


def train(case: Case, folder: Path, *, rounds: int = 2) -> tuple[dict[str, torch.Tensor], list[LossTerms]]:
    """Weights after a few rounds from the same start, and the terms of every loss on the way."""
    trunk = trunk_of(heads=case.heads)
    algorithm = case.make(case.config)
    models = Models(policy=Policy(trunk, None, budget=4096))
    if "rollouts" in algorithm.needs:
        models = ppo_models(trunk, tokens=4)
    seen: list[LossTerms] = []
    inner = algorithm.loss
    algorithm.loss = lambda models, batch: seen.append(inner(models, batch)) or seen[-1]
    config = case.config.model_copy(update={"metric_for_best_model": "none"})
    fit(algorithm, models, plan(folder, trunk, config, rounds=rounds, batch_of=case.batches), accelerator())
    return {k: v.detach().clone() for k, v in trunk.named_parameters()}, seen


def test_every_algorithm_file_is_here():
    files = {p.stem for p in Path(algorithms.__file__).parent.glob("*.py")} - {"__init__", "base"}
    assert files == {inspect.getmodule(type(c.make(c.config))).__name__.rpartition(".")[2] for c in CASES.values()}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_settings_survive_a_round_trip_through_yaml(case):
    reward_model = "somewhere" if case.stage == "ppo" else None
    before = ["negatives"] if case.stage == "reward" else []
    recipe = load_recipe({"stages": [*before, {case.stage: case.config}], "reward_model_name_or_path": reward_model})
    text = dump(recipe)
    again = load_recipe(load_text(text, name="dumped").values)
    assert again == recipe and again.find(case.stage) == case.config
    assert dump(again) == text


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_needs_are_honest(case, tmp_path):
    """With what it says it needs it works; without any of the optional parts of that it does not."""
    algorithm = case.make(case.config)
    assert algorithm.needs == case.knows
    if "rollouts" not in algorithm.needs:
        assert isinstance(algorithm, Offline)
        return
    trunk = trunk_of(heads=case.heads)
    models = ppo_models(trunk, tokens=3)
    for part in ("reference", "sample", "reward"):
        without = dataclasses.replace(models, **{part: None})
        with pytest.raises(AssertionError):
            next(case.make(case.config).stream(without, [(0, case.batches(0))]))


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
    assert len(STAGES) == 6


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
    config = STAGES[name]()
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

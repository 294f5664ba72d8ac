"""Each method beats its start on a toy task, by a stated margin, in seconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from algorithm_cases import CASES, models_of
from tiny import EOS
from toy import accelerator, batch_of, pair, pairs_of, plan, ppo_models, priced, prompts_of, row, stored, trunk_of

from homestretch.algorithms.base import Models
from homestretch.algorithms.ppo import PPO
from homestretch.algorithms.reward_model import RewardModelling
from homestretch.algorithms.sft import SFT
from homestretch.batch import SequenceBatch
from homestretch.config.distill import DistillConfig
from homestretch.config.ppo import PPOConfig
from homestretch.config.training import TrainingConfig
from homestretch.data.collate import collate
from homestretch.data.tokenize import TokenizedExample
from homestretch.generation.rollout import rollout
from homestretch.generation.sampling import SamplingConfig
from homestretch.policies.policy import Policy
from homestretch.training.loop import fit
from homestretch.training.stages.reward import by_mode, rewards_of_pairs
from homestretch.training.stages.value import error, rewards_of

pytestmark = pytest.mark.slow

CONFIG = TrainingConfig(learning_rate=5e-3, metric_for_best_model="none", warmup_steps=3)


def column(folder: Path, key: str) -> list[float]:
    """One column of a folder's metrics, in time order."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row[key] for row in rows if key in row]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
def test_sft_learns_to_answer(tmp_path, name):
    """The loss falls from about ln 61 = 4.1 nats a token to a tenth; half a nat means answers by the prompt."""
    trunk = trunk_of(name)
    made = plan(tmp_path, trunk, CONFIG, rounds=60)
    fit(SFT(), Models(policy=Policy(trunk, None, budget=4096)), made, accelerator())
    loss = column(tmp_path, "loss")
    assert loss[0] > 3
    assert mean(loss[-5:]) < 0.5


@pytest.mark.parametrize("method", [name for name in CASES if name.startswith("ift")])
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_ift_learns_to_answer(tmp_path, name, method):
    """In every form, from about 4.1 nats a token to under half a nat on prompts that it has not seen."""
    trunk, case = trunk_of(name), CASES[method]
    policy = Policy(trunk, None, budget=4096)
    rows = [row(9000 + i) for i in range(30)]
    assert nll_of(policy, rows) > 3
    made = plan(tmp_path, trunk, CONFIG, rounds=60, batch_of=case.batches)
    fit(case.make(case.config), Models(policy=policy), made, accelerator())
    assert nll_of(policy, rows) < 0.5


def nll_of(policy: Policy, rows: list[TokenizedExample]) -> float:
    """Mean negative log-likelihood of the rows' tokens, in nats."""
    batch = collate(rows)
    with torch.no_grad():
        logp_BT = policy.score(batch, want={"logp"}).logp_BT
    assert logp_BT is not None
    return -float(logp_BT[batch.mask_BT.bool()].mean())


WEIGHTED = ["wbc", "gold", "alol", "alol by token", "alol without reference", "alol with divergence", "alol by reward"]


@pytest.mark.parametrize("method", WEIGHTED)
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_weighted_methods_learn_what_earns_more(tmp_path, name, method):
    """Half of the stored responses are noise with a tenth of the reward: answers become likely (under a nat a token,
    from 4.1), and noise that was not trained on stays more than twice as unlikely."""
    trunk = trunk_of(name)
    policy, case = Policy(trunk, None, budget=4096), CASES[method]
    made = plan(tmp_path, trunk, CONFIG, rounds=60, batch_of=case.batches)
    fit(case.make(case.config), Models(policy=policy), made, accelerator())
    good, bad = (nll_of(policy, [stored(2 * i + side) for i in range(5000, 5030)]) for side in (0, 1))
    assert good < 1 and bad > 2 * good + 1


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
@pytest.mark.parametrize("method", ["dpo", "modpo"])
def test_better_is_told_from_worse(tmp_path, name, method):
    """Untrained, answers and noise are equally likely a token; on pairs that it has not seen, answers come to lead by
    more than two nats a token, and in nine of ten pairs."""
    trunk, case = trunk_of(name), CASES[method]
    policy = Policy(trunk, None, budget=4096)
    made = plan(tmp_path, trunk, CONFIG, rounds=40, batch_of=case.batches)
    fit(case.make(case.config), Models(policy=policy), made, accelerator())
    held_out = [pair(100_000 + i) for i in range(60)]
    assert nll_of(policy, [p.rejected for p in held_out]) > nll_of(policy, [p.chosen for p in held_out]) + 2
    assert mean(column(tmp_path, "accuracy")[-5:]) > 0.9


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
def test_the_value_of_a_prompt_is_learned(tmp_path, name):
    """The last token of a prompt decides its reward; a constant leaves a variance of 0.117, V under 0.03."""
    trunk, case = trunk_of(name, heads=("prompt_value",)), CASES["value"]
    policy = Policy(trunk, None, budget=4096)
    held_out = [priced(7000 + i) for i in range(60)]
    made = plan(tmp_path, trunk, CONFIG, rounds=80, batch_of=case.batches)
    fit(case.make(case.config), Models(policy=policy), made, accelerator())
    rewards = rewards_of(held_out)
    assert float((rewards - rewards.mean()).square().mean()) > 0.11
    assert error(policy, held_out) < 0.03


@pytest.mark.parametrize("kind", ["classifier", "pairwise"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
def test_a_reward_model_tells_answers_from_noise(tmp_path, name, kind):
    """On noise that it has not seen, the area under the ROC curve rises above 0.9."""
    trunk = trunk_of(name, heads=("reward",))
    policy = Policy(trunk, None, budget=4096)
    held_out = [pair(100_000 + i) for i in range(60)]
    made = plan(tmp_path, trunk, CONFIG, rounds=40, batch_of=pairs_of)
    fit(RewardModelling(kind), Models(policy=policy), made, accelerator())
    found = by_mode(rewards_of_pairs(policy, held_out), held_out, None)["noise"]
    assert found.n == 60
    assert found.auroc > 0.9 and found.accuracy > 0.9


@pytest.mark.parametrize(
    ("name", "lookahead_k"), [("llama", None), ("gpt2", None), ("t5", None), ("llama", 2), ("t5", 2)]
)
def test_ppo_raises_the_reward(tmp_path, name, lookahead_k):
    """The share of even tokens is a half at first; it rises by 0.2 at least, with and without look-ahead."""
    trunk = trunk_of(name, heads=("value",))
    config = PPOConfig(
        learning_rate=3e-3,
        head_learning_rate=1e-2,
        rollout_batch_size=32,
        train_batch_size=16,
        num_generations=8,
        value_warmup_steps=2,
        kl_coef=0.01,
        lookahead_k=lookahead_k,
        metric_for_best_model="none",
    )
    rounds = 25 if lookahead_k is None else 40
    made = plan(tmp_path, trunk, config, rounds=rounds, batch_of=lambda number: prompts_of(number, size=32, copies=8))
    fit(PPO(config), ppo_models(trunk, tokens=4), made, accelerator())
    reward = column(tmp_path, "reward")
    assert abs(mean(reward[:3]) - 0.5) < 0.15
    assert mean(reward[-3:]) > mean(reward[:3]) + 0.2


@pytest.mark.parametrize("method", ["rloo", "grpo", "grpo without scale"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
def test_groups_raise_the_reward(tmp_path, name, method):
    """Without a critic too the share of even tokens rises by 0.2 at least from a half."""
    trunk, case = trunk_of(name), CASES[method]
    changes = {
        "learning_rate": 3e-3,
        "rollout_batch_size": 32,
        "train_batch_size": 16,
        "num_generations": 8,
        "num_ppo_epochs": 1,
        "metric_for_best_model": "none",
    }
    changes |= {"kl_coef": 0.01} if method == "rloo" else {"beta": 0.01}
    config = case.config.model_copy(update=changes)
    made = plan(tmp_path, trunk, config, rounds=25, batch_of=lambda number: prompts_of(number, size=32, copies=8))
    fit(case.make(config), ppo_models(trunk, tokens=4), made, accelerator())
    reward = column(tmp_path, "reward")
    assert abs(mean(reward[:3]) - 0.5) < 0.15
    assert mean(reward[-3:]) > mean(reward[:3]) + 0.2


@pytest.fixture(scope="module")
def teacher_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Policy]:
    """A model of that kind that has learned to answer."""

    @cache
    def teacher(name: str) -> Policy:
        policy = Policy(trunk_of(name, seed=1), None, budget=4096)
        made = plan(tmp_path_factory.mktemp(name), policy.trunk, CONFIG, rounds=60)
        fit(SFT(), Models(policy=policy), made, accelerator())
        return policy

    return teacher


@pytest.mark.parametrize("method", [name for name in CASES if name.startswith("distill")])
@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
def test_a_student_comes_near_to_its_teacher(tmp_path, teacher_of, name, method):
    """On what its teacher writes, from more than two nats a token to a quarter of what it was at most."""
    student, teacher, case = trunk_of(name), teacher_of(name), CASES[method]
    models, sampling = replace(models_of(case, student), teacher=teacher), SamplingConfig(max_new_tokens=4)

    def written(first: int) -> SequenceBatch:
        prompts = collate([row(first + i) for i in range(64)])
        return rollout(teacher, prompts, eos_ids=[EOS], sampling=sampling, seed=first)

    def divergence(texts: SequenceBatch) -> float:
        exact = DistillConfig(teacher_name_or_path="teacher")
        with torch.no_grad():
            terms = CASES["distill"].make(exact).loss(models, texts)
        return float(terms.terms[terms.mask.bool()].mean())

    stored, held_out = written(0), written(9000)
    before = divergence(held_out)
    assert before > 2

    def offline(number: int) -> SequenceBatch:
        return stored.select([(8 * number + i) % len(stored) for i in range(8)])

    batches = offline if method == "distill whole texts" else case.batches
    fit(case.make(case.config), models, plan(tmp_path, student, CONFIG, rounds=90, batch_of=batches), accelerator())
    assert divergence(held_out) < before / 4


def test_the_toy_answers_are_what_they_are_said_to_be():
    batch = batch_of(0)
    assert batch.ids_BT[:4].tolist() == [[14, 24, 1], [15, 25, 1], [16, 26, 1], [27, 1, 0]]
    assert batch.prompt_ids_BP[:3].tolist() == [[0, 0, 4], [0, 31, 5], [32, 36, 6]]

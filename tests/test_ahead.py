"""Rewards that are asked while samples are still being drawn: the same rewards, and before the round is over."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from test_policies import batch_of
from tiny import build

from homestretch.config.rewards import RewardTerm
from homestretch.data.records import example_from_row
from homestretch.errors import InputError
from homestretch.generation.rollout import rollout
from homestretch.generation.sampling import SamplingConfig
from homestretch.generation.schedule import Sample
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk
from homestretch.rewards.named import NamedReward, ask, load_rewards, of_samples
from homestretch.training import ahead as module
from homestretch.training.ahead import Ahead, AskedAhead, elsewhere

PROMPTS = [[5, 6, 7], [8, 9, 10, 11], [13]]
GPU, CPU = torch.device("cuda"), torch.device("cpu")
EXAMPLES = [example_from_row({"prompt": f"p{i}", "completion": f"b{i} c"}, where=f"file:{i}") for i in range(3)]
TOKENIZER = SimpleNamespace(decode=lambda ids, **_: " ".join(str(int(i)) for i in ids))


def term(**settings: object) -> RewardTerm:
    return RewardTerm.model_validate({"weight": 1.0} | settings)


def named(function, **settings: object) -> NamedReward:
    return NamedReward("own", term(function="file.py:f", **settings), function)


def length(prompts, completions, **columns):
    return [float(len(text)) + len(document) for text, document in zip(completions, columns["document"], strict=True)]


def test_judges_are_elsewhere_and_functions_where_the_policy_is_on_a_gpu() -> None:
    judge = NamedReward("j", term(judge={"model": "m", "prompt": "brevity"}), length)
    assert elsewhere(judge, CPU) and elsewhere(judge, GPU)
    assert elsewhere(named(length), GPU) and not elsewhere(named(length), CPU)
    (rule,) = load_rewards({"overlap": term()})
    assert not elsewhere(rule, GPU)


def test_with_several_processes_and_on_one_device_nothing_is_asked_ahead(monkeypatch) -> None:
    rewards = [named(length)]
    assert Ahead(EXAMPLES, TOKENIZER, CPU).over(rewards) == rewards
    monkeypatch.setattr(module.ranks, "count", lambda: 2)
    assert Ahead(EXAMPLES, TOKENIZER, GPU).over(rewards) == rewards


def test_rewards_of_a_rollout_are_those_of_asking_afterwards_and_begin_before_it_ends() -> None:
    prompts = [p for p in PROMPTS for _ in range(3)]
    batch = replace(batch_of(prompts, [[1]] * 9), index_B=torch.arange(9) // 3)
    started = threading.Event()
    asked: list[list[str]] = []

    def slow(prompts, completions, **columns):
        started.set()
        asked.append(list(completions))
        return length(prompts, completions, **columns)

    ahead = Ahead(EXAMPLES, TOKENIZER, GPU)
    (early,) = ahead.over([named(slow)])
    finished = 0

    def on_sample(row: int, sample: Sample) -> None:
        nonlocal finished
        ahead.begin(int(batch.index_B[row]), sample)
        finished += 1
        if finished == 1:
            assert started.wait(20), "the reward is asked while most samples are not there yet"

    policy = Policy(Trunk(build("llama")), None, budget=1000)
    sampling = SamplingConfig(max_new_tokens=20)
    made = rollout(policy, batch, eos_ids=[20, 41, 57], sampling=sampling, seed=1, on_sample=on_sample)
    assert finished == len(made)
    found = of_samples([early], EXAMPLES, made, TOKENIZER)["own"]
    assert found.tolist() == of_samples([named(length)], EXAMPLES, made, TOKENIZER)["own"].tolist()
    assert len(found.unique()) > 1
    assert sum(map(len, asked)) == len(made), "nothing is asked twice"


def test_what_was_not_asked_ahead_is_asked_when_it_is_due_and_nothing_is_kept() -> None:
    calls: list[list[str]] = []

    def counting(prompts, completions, **columns):
        calls.append(list(completions))
        return [None if text == "none" else float(len(text)) for text in completions]

    reward = AskedAhead(counting)
    reward.begin((EXAMPLES[1], "none", True))
    for _ in range(2):
        assert ask(reward, EXAMPLES[:2], ["abc", "none"], [True, True]) == [3.0, None]
    assert calls == [["none"], ["abc"], ["abc", "none"]]


def test_rows_of_one_line_have_rewards_of_their_own() -> None:
    def of_prompt_and_references(prompts, completions, **columns):
        return [float(p[1:]) + len(refs[0]) for p, refs in zip(prompts, columns["references"], strict=True)]

    rows = [("p0", "a"), ("p1", "a"), ("p1", "bcd")]
    examples = [example_from_row({"prompt": p, "completion": c}, where="rows.json:1") for p, c in rows]
    examples.append(example_from_row({"prompt": "p2", "completion": "a", "margin": 1.0}, where="rows.json:1"))
    reward = AskedAhead(of_prompt_and_references)
    for example in examples:
        reward.begin((example, "the same", True))
    assert ask(reward, examples, ["the same"] * 4, [True] * 4) == [1.0, 2.0, 4.0, 3.0]


def test_what_a_reward_raises_is_raised_when_it_is_due() -> None:
    calls: list[list[str]] = []

    def broken_once(prompts, completions, **columns):
        calls.append(list(completions))
        if len(calls) == 1:
            raise InputError("the endpoint is down")
        return [1.0] * len(completions)

    reward = AskedAhead(broken_once)
    reward.begin((EXAMPLES[0], "text", True))
    with pytest.raises(InputError, match="the endpoint is down"):
        reward(["p0"], ["text"], where=["file:0"], terminated=[True])

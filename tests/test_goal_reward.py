"""Goal-conditioned reward models: the contrastive term on real trunks, goals saved whole, values at every token."""

from __future__ import annotations

import os

import pytest
import tiny
import torch
from reference import contrast as reference
from safetensors.torch import load_file, save_file
from test_policies import PROMPTS, RESPONSES, batch_of
from test_reward_model import WORSE, made

from homestretch.algorithms.base import Models
from homestretch.algorithms.reward_model import ContrastBatch, RewardModelling, contrast_terms
from homestretch.batch import PairBatch
from homestretch.config.contrast import ContrastConfig
from homestretch.data.tokenize import TokenizedExample
from homestretch.errors import InputError
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk
from homestretch.rewards.goal import FILE, GoalModel, goal_state, load_goal_model, load_goals, save_goals, to_goal
from homestretch.training.stages.reward import with_places

FEW = ContrastConfig(states=3)


def pairs() -> PairBatch:
    return PairBatch(chosen=batch_of(), rejected=batch_of(PROMPTS, WORSE))


def policy_of(name: str) -> Policy:
    trunk = Trunk(tiny.build(name))
    trunk.add_head("reward", zero=False)
    return Policy(trunk, None, budget=1000)


def states_of(policy: Policy, prompt: list[int], response: list[int]) -> list[list[float]]:
    hidden = policy.score(batch_of([prompt], [response]), want={"hidden"}).hidden_BSD
    assert hidden is not None
    return hidden[0].tolist()


@pytest.mark.parametrize("name", ["llama", "t5"])
@pytest.mark.parametrize(
    "config", [FEW, FEW.model_copy(update={"matched": True}), FEW.model_copy(update={"temperature": 0.3})]
)
def test_the_term_is_that_of_the_definition_on_the_states_of_its_places(name, config):
    policy, batch = policy_of(name), with_places(pairs(), config, 7)
    contrast = RewardModelling("pairwise", config).loss(Models(policy=policy), batch).diagnostics["loss/contrast"][0]
    with torch.no_grad():
        for b, (prompt, better, worse) in enumerate(zip(PROMPTS, RESPONSES, WORSE, strict=True)):
            sides = states_of(policy, prompt, better), states_of(policy, prompt, worse)
            picked = [[sides[kind == 3][t] for t in batch.place_BK4[b, :, kind].tolist()] for kind in range(4)]
            near = [[reference.cosine(s, g) for g in picked[1]] for s in picked[0]]
            far = [[reference.cosine(s, g) for g in picked[3]] for s in picked[2]]
            if config.matched:
                near, far = ([[row[i]] for i, row in enumerate(rows)] for rows in (near, far))
            expected = reference.loss(near, far, temperature=config.temperature)
            assert float(contrast[b]) == pytest.approx(expected, abs=2e-4)


def test_the_loss_is_the_rewards_own_and_the_weighted_term():
    policy = policy_of("llama")
    plain = RewardModelling("pairwise").loss(Models(policy=policy), pairs()).terms
    batch = with_places(pairs(), FEW, 7)
    both = RewardModelling("pairwise", FEW.model_copy(update={"weight": 0.25})).loss(Models(policy=policy), batch)
    contrast = both.diagnostics["loss/contrast"][0]
    torch.testing.assert_close(both.terms, plain + 0.25 * contrast)
    torch.testing.assert_close(both.diagnostics["loss/reward"][0], plain)


def test_terms_do_not_hang_on_the_order_or_the_cut_of_a_batch():
    policy, batch = policy_of("llama"), with_places(pairs(), FEW, 7)
    algorithm = RewardModelling("classifier", FEW)
    whole = algorithm.loss(Models(policy=policy), batch).terms
    for rows in ([2, 0, 1], [1], [0, 2]):
        part = batch.select(rows)
        assert isinstance(part, ContrastBatch)
        torch.testing.assert_close(algorithm.loss(Models(policy=policy), part).terms, whole[rows], atol=1e-5, rtol=1e-4)


def test_a_goal_that_is_a_constant_gets_no_gradient():
    generator = torch.Generator().manual_seed(0)
    chosen, rejected = (torch.randn(3, 5, 4, generator=generator, requires_grad=True) for _ in range(2))
    place = with_places(pairs(), FEW, 1).place_BK4
    contrast_terms(chosen, rejected, place, FEW.model_copy(update={"goal_stop_gradient": True})).sum().backward()
    assert rejected.grad is None and float(chosen.grad.abs().max()) > 0
    contrast_terms(chosen, rejected, place, FEW).sum().backward()
    assert float(rejected.grad.abs().max()) > 0


def test_negatives_of_the_batch_are_all_its_worse_responses():
    generator = torch.Generator().manual_seed(0)
    chosen, rejected = (torch.randn(3, 6, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    place = with_places(pairs(), FEW, 1).place_BK4
    found = contrast_terms(chosen, rejected, place, FEW.model_copy(update={"in_batch_negatives": True}))
    goals = [rejected[b, t].tolist() for b in range(3) for t in place[b, :, 3].tolist()]
    for b in range(3):
        near = [
            [reference.cosine(chosen[b, i].tolist(), chosen[b, j].tolist()) for j in place[b, :, 1]]
            for i in place[b, :, 0]
        ]
        far = [[reference.cosine(chosen[b, i].tolist(), goal) for goal in goals] for i in place[b, :, 2]]
        assert float(found[b]) == pytest.approx(reference.loss(near, far), abs=1e-9)


def rows() -> list[TokenizedExample]:
    both = enumerate(zip(PROMPTS, RESPONSES, strict=True))
    return [TokenizedExample(i, prompt, response, len(response)) for i, (prompt, response) in both]


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_a_goal_is_the_mean_state_behind_the_last_tokens(name):
    policy = policy_of(name)
    with torch.no_grad():
        last = [states_of(policy, row.prompt_ids, row.completion_ids)[-1] for row in rows()]
    found = goal_state(policy, rows())
    torch.testing.assert_close(found, torch.tensor(last).mean(0), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(goal_state(policy, rows(), tokens="random", seed=3), found)
    with pytest.raises(InputError, match="there is none"):
        goal_state(policy, [])


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_goals_are_saved_beside_their_model_and_values_are_those_of_prefixes(tmp_path, lora):
    ours, folder = made(tmp_path, "llama", lora=lora)
    goal = goal_state(ours.policy, rows())
    save_goals(folder, {"success": goal, "other": -goal})
    loaded = load_goal_model(folder, bf16=False)
    q, reward = loaded.values(batch_of())
    torch.testing.assert_close(loaded.values(batch_of(), "other").q_BT, -q)
    torch.testing.assert_close(loaded.q_states(batch_of())[:, 1:], q)
    for b, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        for t in range(1, len(response) + 1):
            prefix = batch_of([prompt], [response[:t]])
            assert float(reward[b, t - 1]) == pytest.approx(float(ours.score_ids(prefix)), abs=1e-4)
            state = ours.policy.score(prefix, want={"hidden"}).hidden_BSD[0, t].tolist()
            assert float(q[b, t - 1]) == pytest.approx(reference.cosine(state, goal.tolist()), abs=1e-4)


def test_whole_rewards_are_the_values_behind_the_last_tokens(tmp_path):
    ours, _ = made(tmp_path, "llama", lora=True)
    values = GoalModel(ours, {"success": torch.ones(32)}).values(batch_of()).reward_BT
    last = values.gather(1, batch_of().length_B[:, None] - 1).squeeze(1)
    torch.testing.assert_close(last, ours.score_ids(batch_of()))


def test_goals_of_another_model_or_none_are_refused(tmp_path):
    ours, folder = made(tmp_path, "llama", lora=True)
    with pytest.raises(InputError, match=r"no goals\.safetensors.*reward\.contrast"):
        load_goal_model(folder)
    save_goals(folder, {"success": goal_state(ours.policy, rows())})
    with pytest.raises(InputError, match="no goal `brief`; there are `success`"):
        load_goal_model(folder, bf16=False).goal("brief")
    head = load_file(folder / "head.safetensors")
    save_file({k: v + 1 for k, v in head.items()}, folder / "head.safetensors")
    with pytest.raises(InputError, match="belongs to another reward model"):
        load_goals(folder)
    assert FILE in {file.name for file in folder.iterdir()}


def test_a_goal_of_another_size_is_refused(tmp_path):
    _, folder = made(tmp_path, "llama", lora=True)
    save_goals(folder, {"success": torch.ones(32), "brief": torch.ones(16)})
    with pytest.raises(InputError, match=r"`brief` has the shape \(16,\) and a state of the reward model \(32,\)"):
        load_goal_model(folder, bf16=False)


def test_half_a_file_of_goals_is_refused_and_none_is_left_behind(tmp_path, monkeypatch):
    _, folder = made(tmp_path, "llama", lora=True)
    save_goals(folder, {"success": torch.ones(32)})
    before = sorted(folder.iterdir())
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            save_goals(folder, {"success": torch.zeros(32)})
    assert sorted(folder.iterdir()) == before and torch.equal(load_goals(folder)["success"], torch.ones(32))
    whole = (folder / FILE).read_bytes()
    for size in (0, 4, len(whole) // 2, len(whole) - 1):
        (folder / FILE).write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"goals\.safetensors is not whole \(.*remove it"):
            load_goals(folder)


def test_goals_that_cannot_be_written_are_a_sentence(tmp_path):
    _, folder = made(tmp_path, "llama", lora=True)
    (folder / FILE).mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        save_goals(folder, {"success": torch.ones(32)})


def test_q_is_a_cosine_however_it_is_rounded():
    state_BTD = torch.randn(200, 1, 33, generator=torch.Generator().manual_seed(0))
    for state_1TD in state_BTD.split(1):
        assert float(to_goal(state_1TD, state_1TD[0, 0])) <= 1 and float(to_goal(state_1TD, -state_1TD[0, 0])) >= -1

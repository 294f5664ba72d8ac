"""Stages `ppo`, `rloo` and `grpo`: what a recipe must say, and what responses earn without a reward model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import toy
from toy import ppo_models, row, trunk_of

from homestretch.algorithms.grpo import GRPO
from homestretch.algorithms.ppo import PPO
from homestretch.algorithms.rloo import RLOO
from homestretch.batch import SequenceBatch
from homestretch.config.grpo import GRPOConfig
from homestretch.config.ppo import PPOConfig
from homestretch.config.recipe import load_recipe
from homestretch.config.rewards import LOGGED
from homestretch.config.rloo import RLOOConfig
from homestretch.config.rollouts import GroupConfig
from homestretch.config.stages import STAGES
from homestretch.data import samplers
from homestretch.data.records import example_from_row
from homestretch.data.samplers import epoch_order
from homestretch.errors import RecipeError
from homestretch.rewards.named import load_rewards
from homestretch.training.online_stage import prompts_of
from homestretch.training.terminal_reward import spreads, stage_rewards, terminal_reward

METHODS = ["ppo", "rloo", "grpo"]
OVERLAP = {"rewards": {"overlap": 10.0}}


def rewarded(context: Any, judge: Any, config: Any, *, scales: Any = None, **more: Any) -> Any:
    """The terminal reward of a stage with these settings and one row."""
    own = stage_rewards(context, config, scales)
    return terminal_reward(context, judge, config, [row(0)], own, scales=scales, **more)


@pytest.mark.parametrize("method", METHODS)
def test_a_reward_model_is_asked_for_unless_rules_stand_for_it(method: str) -> None:
    with pytest.raises(RecipeError, match=f"the stage `{method}` needs `reward` before it"):
        load_recipe({"stages": [method]})
    with pytest.raises(RecipeError, match=f"the stage `{method}` needs `reward` before it"):
        load_recipe({"stages": [{method: {"rewards": {"overlap": 0.0}}}]})
    assert load_recipe({"stages": [{method: OVERLAP}, "evaluate"]}).find(method).rewards["overlap"].weight == 10.0


def test_groups_have_two_samples_at_least_and_rounds_whole_groups() -> None:
    for method in ("rloo", "grpo"):
        assert issubclass(STAGES[method], GroupConfig)
        with pytest.raises(RecipeError, match="`num_generations` = 1 cannot be used"):
            STAGES[method].parse({"num_generations": 1}, where="here")
    with pytest.raises(RecipeError, match="rollout_batch_size 128 must be a multiple of num_generations 5"):
        RLOOConfig.parse({"num_generations": 5}, where="here")


def test_without_a_reward_model_the_length_term_and_the_missing_end_remain() -> None:
    """Twice the reference's length costs 1, a missing end 1."""
    ones = torch.ones(2, 4, dtype=torch.long)
    made = SequenceBatch(
        prompt_ids_BP=ones, prompt_mask_BP=ones, ids_BT=ones, mask_BT=ones, index_B=torch.zeros(2, dtype=torch.long),
        ref_length_B=torch.tensor([2, 4]), terminated_B=torch.tensor([True, False]),
    )  # fmt: skip
    context = SimpleNamespace(named_rewards=load_rewards, splits=SimpleNamespace(train=[]), tokenizer=None)
    reward_B, parts = rewarded(context, None, RLOOConfig())(made)
    assert reward_B.tolist() == [-1.0, -1.0]
    assert list(parts) == ["length_penalty"] and parts["length_penalty"].tolist() == [1.0, 0.0]

    judge = SimpleNamespace(score_ids=lambda batch: torch.tensor([9.0, 2.0]))
    reward_B, parts = rewarded(context, judge, RLOOConfig())(made)
    assert reward_B.tolist() == [4.0, 1.0] and parts["scores"].tolist() == [9.0, 2.0]


def test_weights_of_score_and_rewards_and_what_they_are_divided_by() -> None:
    """Scores of 4 and 2, clipped at 3, have the spread 0.5; 1 and 3 words that of 1."""
    ids = torch.tensor([[1, 0, 0], [1, 1, 1]])
    made = SequenceBatch(
        prompt_ids_BP=ids, prompt_mask_BP=ids, ids_BT=ids, mask_BT=ids, index_B=torch.zeros(2, dtype=torch.long),
        ref_length_B=torch.tensor([4, 4]), terminated_B=torch.tensor([True, True]),
    )  # fmt: skip
    examples = [example_from_row({"prompt": "a", "completion": "b c"}, where="here")]
    tokenizer = SimpleNamespace(decode=lambda ids, **options: " ".join("b" * len(ids)))
    context = SimpleNamespace(named_rewards=load_rewards, splits=SimpleNamespace(train=examples), tokenizer=tokenizer)
    judge = SimpleNamespace(score_ids=lambda batch: torch.tensor([4.0, 2.0]))
    config = RLOOConfig(rewards={"model": 0.5, "concise": 0.25}, length_penalty="none", reward_clip_range=3)
    found = {name: float(value) for name, value in spreads(context, judge, config, made).items()}
    assert found == {"concise": 1.0, "model": 0.5}
    reward_B, parts = rewarded(context, judge, config, scales={"model": 0.5, "concise": 2.0})(made)
    assert parts["scores"].tolist() == [4.0, 2.0], "the log has the score as it is"
    assert parts["concise"].tolist() == [-0.125, -0.375]
    assert reward_B.tolist() == [0.5 * 3 / 0.5 - 0.125, 0.5 * 2 / 0.5 - 0.375]
    reward_B, _ = rewarded(context, judge, config)(made)
    assert reward_B.tolist() == [0.5 * 3 - 0.25, 0.5 * 2 - 0.75]


def test_golden_rewards_are_logged_and_not_earned() -> None:
    ones = torch.ones(2, 4, dtype=torch.long)
    made = SequenceBatch(
        prompt_ids_BP=ones, prompt_mask_BP=ones, ids_BT=ones, mask_BT=ones, index_B=torch.zeros(2, dtype=torch.long),
        ref_length_B=torch.tensor([4, 4]), terminated_B=torch.tensor([True, True]),
    )  # fmt: skip
    examples = [example_from_row({"prompt": "a", "completion": "b c"}, where="here")]
    tokenizer = SimpleNamespace(decode=lambda ids, **options: "b c")
    context = SimpleNamespace(named_rewards=load_rewards, splits=SimpleNamespace(train=examples), tokenizer=tokenizer)
    golden = RLOOConfig(golden={"overlap": 2.0})
    reward_B, parts = rewarded(context, None, golden)(made)
    assert reward_B.tolist() == [0.0, 0.0]
    assert parts["golden/overlap"].tolist() == [2.0, 2.0] and list(parts) == ["length_penalty", "golden/overlap"]
    assert not golden.stands_alone, "there is nothing to learn from yet"


def test_outputs_of_held_out_prompts_are_compared_with_their_own_examples() -> None:
    ones = torch.ones(1, 4, dtype=torch.long)
    made = SequenceBatch(
        prompt_ids_BP=ones,
        prompt_mask_BP=ones,
        ids_BT=ones,
        mask_BT=ones,
        index_B=torch.zeros(1, dtype=torch.long),
        ref_length_B=torch.tensor([4]),
        terminated_B=torch.tensor([True]),
    )
    trained, held_out = (example_from_row({"prompt": "a", "completion": text}, where="here") for text in ("x y", "b c"))
    tokenizer = SimpleNamespace(decode=lambda ids, **options: "b c")
    context = SimpleNamespace(named_rewards=load_rewards, splits=SimpleNamespace(train=[trained]), tokenizer=tokenizer)
    how = context, None, RLOOConfig(**OVERLAP)
    assert rewarded(*how)(made)[0].tolist() == [0.0]
    assert rewarded(*how, examples=[held_out])(made)[0].tolist() == [10.0]


@pytest.mark.parametrize("algorithm", [PPO(PPOConfig(num_generations=4)), RLOO(RLOOConfig()), GRPO(GRPOConfig())])
def test_what_is_logged_keeps_its_name(algorithm: Any) -> None:
    """Beside a reward, `objective/` has the names that no reward may have; a part of such a name changes nothing."""
    config = RLOOConfig()
    judge = SimpleNamespace(score_ids=lambda batch: torch.ones(len(batch)))
    context = SimpleNamespace(named_rewards=load_rewards, splits=SimpleNamespace(train=[]), tokenizer=None)
    own = rewarded(context, judge, config)

    def stats(**more: float) -> dict[str, float]:
        def reward(responses: SequenceBatch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            reward_B, parts = own(responses)
            return reward_B, parts | {name: torch.full((len(responses),), value) for name, value in more.items()}

        torch.manual_seed(0)
        models = ppo_models(trunk_of(heads=("value",)), tokens=4, reward=reward)
        return next(algorithm.stream(models, iter([(0, toy.prompts_of(0))]))).stats

    plain = stats()
    names = {name.removeprefix("objective/") for name in plain if name.startswith("objective/")}
    assert names == set(LOGGED) - (set() if isinstance(algorithm, PPO) else {"kl_coef"})
    assert stats(brevity=7.0) == plain | {"objective/brevity": 7.0}
    assert stats(kl=77.0, entropy=77.0) == plain


def test_rounds_go_through_all_prompts_without_repeats_and_a_pass_is_shuffled_once(monkeypatch: Any) -> None:
    """7 prompts, 3 of them a round: the third round ends one pass and begins the next."""
    rows, asked = [row(i) for i in range(7)], []

    def counted(n: int, *, seed: int, epoch: int) -> list[int]:
        asked.append(epoch)
        return epoch_order(n, seed=seed, epoch=epoch)

    monkeypatch.setattr(samplers, "epoch_order", counted)
    batch_of = prompts_of(rows, RLOOConfig(rollout_batch_size=6, num_generations=2), 5)
    made = [batch_of(number).index_B for number in range(4)]
    expected = [rows[i].index for epoch in range(2) for i in epoch_order(7, seed=5, epoch=epoch)]
    assert torch.cat(made).tolist() == [index for index in expected[:12] for _ in range(2)]
    assert asked == [0, 1]

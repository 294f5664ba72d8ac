"""Rewards by rule: what they pay, and how a recipe's weights bring them into the terminal reward."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from tiny_tokenizers import tokenizer

from homestretch.batch import SequenceBatch
from homestretch.config.ppo import PPOConfig
from homestretch.config.rewards import RULES, RewardTerm
from homestretch.data.records import example_from_row
from homestretch.errors import RecipeError
from homestretch.rewards.named import NamedReward, load_rewards
from homestretch.rewards.rules import REWARDS, reference_overlap, unbroken_rules
from homestretch.training.terminal_reward import by_name

SOURCE = "The cat sat on the mat in the sun and slept for most of the long afternoon."
REFERENCE = "A cat slept on a mat."
OUTPUTS = [REFERENCE, "cat", "The cat sat on the mat in the sun and slept", "A cat slept on the mat."]


def test_overlap_is_the_length_adjusted_rouge_of_the_best_reference():
    scores = reference_overlap([SOURCE] * 4, OUTPUTS, [[REFERENCE]] * 4)
    # words in common over words: 6 of 6 and 6; 1 of 1 and 6; 5 of 6 and 6
    assert scores[0] == 1.0
    assert scores[1] == pytest.approx(2 * 1 / (1 + 6))
    assert scores[3] == pytest.approx(2 * 5 / (6 + 6))


def test_a_sample_that_breaks_a_rule_costs_one():
    made = unbroken_rules(["?"] * 4, OUTPUTS, references=[[REFERENCE]] * 4, document=[SOURCE] * 4)
    assert made == [0.0, -1.0, -1.0, 0.0]  # too short, a copy


def test_every_name_of_the_recipe_is_a_reward_and_the_other_way_round():
    assert set(RULES) == set(REWARDS)


def test_other_names_and_negative_weights_are_refused():
    for wrong in ({"overlop": 1.0}, {"overlap": -1.0}):
        with pytest.raises(RecipeError, match="overl"):
            PPOConfig.parse({"rewards": wrong}, where="here")


def test_weights_multiply_and_padding_is_not_read():
    characters = tokenizer()
    example = example_from_row({"prompt": SOURCE, "completion": REFERENCE}, where="a:1")
    context, examples = SimpleNamespace(tokenizer=characters), [None, example]
    ids = [characters(text).input_ids for text in OUTPUTS]
    width, junk = max(map(len, ids)) + 1, characters("x").input_ids
    responses = SequenceBatch(
        prompt_ids_BP=torch.ones(4, 1, dtype=torch.long),
        prompt_mask_BP=torch.ones(4, 1, dtype=torch.long),
        ids_BT=torch.tensor([row + junk * (width - len(row)) for row in ids]),
        mask_BT=torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids]),
        index_B=torch.tensor([1, 1, 1, 1]),
    )
    weights = {"overlap": 10.0, "rules": 3.0}
    terms = {name: RewardTerm(weight=weight) for name, weight in weights.items()}
    made = by_name(context, responses, load_rewards(terms), examples)
    assert made["rules"].tolist() == [0.0, -3.0, -3.0, 0.0]
    assert made["overlap"].tolist() == pytest.approx([10.0, 20 / 7, made["overlap"][2].item(), 50 / 6])
    assert by_name(context, responses, [], examples) == {}
    none = NamedReward("none", RewardTerm(), lambda prompts, completions, **_: [1.0, None, 0.0, None])
    assert by_name(context, responses, [none], examples)["none"].tolist() == [1.0, 0.0, 0.0, 0.0], (
        "no effect where it says none"
    )
    assert [named.name for named in load_rewards(terms | {"overlap": RewardTerm(weight=0.0)})] == ["rules"]

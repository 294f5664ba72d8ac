"""The shaped reward: the sheet's numbers, the definition, and that nothing differentiates through it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import shaping as reference

from homestretch.rewards.shaping import length_penalty, shaped_reward

FORMS = ["ratio", "deviation", "linear", "budget", "none"]
LENGTHS = st.lists(st.tuples(st.integers(0, 80), st.integers(1, 80)), min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("form", "coef", "want"),
    [("ratio", 0.5, 0.25), ("deviation", 0.5, 0.25), ("linear", 0.01, 0.3), ("budget", 0.02, 0.1)],
)
def test_penalties_of_the_sheet(form: str, coef: float, want: float) -> None:
    got = length_penalty(torch.tensor([30]), torch.tensor([20]), form=form, coef=coef, budget=25)
    assert got.tolist() == pytest.approx([want])


@pytest.mark.parametrize("form", FORMS)
@given(lengths=LENGTHS, coef=st.floats(0, 3), budget=st.integers(0, 60))
def test_penalties_equal_the_definition(form: str, lengths: list[tuple[int, int]], coef: float, budget: int) -> None:
    length, ref_length = (torch.tensor(column) for column in zip(*lengths, strict=True))
    got = length_penalty(length, ref_length, form=form, coef=coef, budget=budget)
    want = [reference.penalty(form, a, b, coef=coef, budget=budget) for a, b in lengths]
    assert got.tolist() == pytest.approx(want, rel=1e-5, abs=1e-5)
    assert got.dtype == torch.float32


def test_only_the_deviation_charges_what_is_too_short() -> None:
    short, reference = torch.tensor([5]), torch.tensor([20])
    got = {form: length_penalty(short, reference, form=form, coef=1.0, budget=25).item() for form in FORMS}
    assert got == {"ratio": 0.0, "deviation": 0.75, "linear": 5.0, "budget": 0.0, "none": 0.0}


@pytest.mark.parametrize("form", ["linear", "budget", "none"])
def test_only_ratios_need_references(form: str) -> None:
    assert length_penalty(torch.tensor([3]), None, form=form, coef=1.0, budget=5).shape == (1,)


def test_what_is_missing_is_said() -> None:
    for form in ("ratio", "deviation"):
        with pytest.raises(ValueError, match=f"`{form}` needs reference lengths"):
            length_penalty(torch.tensor([3]), None, form=form, coef=1.0)
    with pytest.raises(ValueError, match="number of tokens"):
        length_penalty(torch.tensor([3]), None, form="budget", coef=1.0)


def test_an_empty_reference_counts_as_one_token() -> None:
    got = length_penalty(torch.tensor([3]), torch.tensor([0]), form="ratio", coef=1.0)
    assert got.tolist() == [2.0]


def test_shaped_reward_by_hand() -> None:
    got = shaped_reward(
        torch.tensor([7.0, 7.0, -9.0, 1.0]),
        torch.tensor([0.0, 0.25, 0.5, 0.0]),
        torch.tensor([True, False, True, False]),
        reward_clip_range=5.0,
        missing_eos_penalty=1.0,
    )
    # the clip stands in front of the penalties: 5 - 0.25 - 1, and -5 - 0.5 beyond the range
    assert got.tolist() == [5.0, 3.75, -5.5, 0.0]


@given(score=st.floats(-20, 20), cost=st.floats(0, 3), done=st.booleans(), clip=st.floats(0.1, 10), eos=st.floats(0, 2))
def test_shaped_reward_equals_the_definition(score: float, cost: float, done: bool, clip: float, eos: float) -> None:
    one = {"dtype": torch.float64}
    got = shaped_reward(
        torch.tensor([score], **one),
        torch.tensor([cost], **one),
        torch.tensor([done]),
        reward_clip_range=clip,
        missing_eos_penalty=eos,
    )
    want = reference.reward(score, cost, done, clip_range=clip, c_eos=eos)
    assert got.tolist() == pytest.approx([want], abs=1e-9)


def test_rewards_and_penalties_are_constants() -> None:
    score, length = torch.ones(2, requires_grad=True), torch.full((2,), 30.0, requires_grad=True)
    for form in FORMS:
        assert not length_penalty(length, torch.tensor([20, 20]), form=form, coef=1.0, budget=5).requires_grad
    costly = torch.ones(2, requires_grad=True)
    arguments = {"reward_clip_range": 5.0, "missing_eos_penalty": 1.0}
    assert not shaped_reward(score, torch.zeros(2), torch.tensor([True, False]), **arguments).requires_grad
    assert not shaped_reward(score.detach(), costly, torch.tensor([True, False]), **arguments).requires_grad

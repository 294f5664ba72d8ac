"""The contrastive loss: the sheet's numbers, the definition, its bounds, and what it does not depend on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import contrast as reference

from homestretch.ops.contrast import contrastive_loss, cosines, matched
from homestretch.ops.state_sampling import contrast_places, places

POSITIVE, NEGATIVE = [[0.8, 0.6], [0.4, 0.2]], [[0.1, -0.3], [0.5, 0.0]]
COSINE = st.floats(-1, 1)


def tensor(values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_numbers_of_the_sheet():
    positive, negative = tensor([POSITIVE]), tensor([NEGATIVE])
    assert contrastive_loss(positive, negative).tolist() == pytest.approx([1.2066907251], abs=1e-10)
    assert contrastive_loss(positive, negative, mean_of_log=True).tolist() == pytest.approx([1.2214297019], abs=1e-10)
    own = contrastive_loss(matched(positive), matched(negative))
    assert own.tolist() == pytest.approx([1.1966339083], abs=1e-10)


def test_parallel_states_have_the_start_value_and_nothing_is_below_the_minimum():
    ones = torch.ones(1, 3, 3, dtype=torch.float64)
    assert float(contrastive_loss(ones, ones)) == pytest.approx(1.6265234, abs=1e-7)
    assert float(contrastive_loss(ones, -ones)) == pytest.approx(0.6265234, abs=1e-7)


@given(
    near=st.lists(st.lists(COSINE, min_size=3, max_size=3), min_size=2, max_size=2),
    far=st.lists(st.lists(COSINE, min_size=4, max_size=4), min_size=3, max_size=3),
    temperature=st.floats(0.1, 3),
)
def test_equal_the_definition(near, far, temperature):
    ours = contrastive_loss(tensor([near]), tensor([far]), temperature=temperature)
    assert ours.tolist() == pytest.approx([reference.loss(near, far, temperature=temperature)], rel=1e-9)
    logs = contrastive_loss(tensor([near]), tensor([far]), mean_of_log=True)
    assert logs.tolist() == pytest.approx([reference.mean_of_log(near, far)], rel=1e-9)


def test_cosines_are_those_of_every_source_with_every_goal_whatever_their_scale():
    generator = torch.Generator().manual_seed(0)
    source, goal = (torch.randn(2, n, 5, generator=generator, dtype=torch.float64) for n in (3, 4))
    found = cosines(source * 7, goal * 0.01)
    assert found.shape == (2, 3, 4)
    for b, i, j in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(4)).tolist():
        expected = reference.cosine(source[b, i].tolist(), goal[b, j].tolist())
        assert float(found[b, i, j]) == pytest.approx(expected, abs=1e-12)
    assert cosines(source.bfloat16(), goal.bfloat16()).dtype == torch.float32


def test_gradients_reach_sources_and_goals_and_are_right():
    generator = torch.Generator().manual_seed(1)
    states = [torch.randn(2, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(4)]

    def loss(a, b, c, d):
        return contrastive_loss(cosines(a, b), cosines(c, d)).sum()

    assert torch.autograd.gradcheck(loss, states)
    grads = torch.autograd.grad(loss(*states), states)
    assert all(float(grad.abs().max()) > 0 for grad in grads)


def test_places_of_the_sheet():
    uniform = torch.tensor([[0.0, 0.05, 0.5, 0.95]])
    # n = 10 tokens and an end marker: offsets from the end -11, -10, -6 and -1
    assert places(uniform, torch.tensor([11])).tolist() == [[1, 2, 6, 11]]
    assert places(uniform, torch.tensor([1])).tolist() == [[1, 1, 1, 1]]


@given(length=st.integers(1, 40), percentile=st.floats(0, 0.99), seed=st.integers(0, 99))
def test_places_lie_inside_and_a_percentile_leaves_out_the_end(length, percentile, seed):
    uniform = torch.rand(1, 64, generator=torch.Generator().manual_seed(seed))
    found = places(uniform, torch.tensor([length]), percentile=percentile)
    assert int(found.min()) >= 1 and int(found.max()) <= length
    assert int(found.max()) <= length - int(percentile * (length - 1))


def test_five_of_six_positive_pairs_of_other_slots_look_ahead_and_all_of_the_own():
    uniform = torch.rand(2000, 16, 4, generator=torch.Generator().manual_seed(0))
    found = contrast_places(uniform, torch.full((2000,), 10_000), torch.full((2000,), 10_000))
    source, goal = found[..., 0], found[..., 1]
    assert bool((source <= goal).all())
    ahead = (source[:, :, None] <= goal[:, None]).double().mean()
    assert float(ahead) == pytest.approx(0.84375, abs=0.003)


def test_negative_goals_come_from_the_worse_response():
    uniform = torch.rand(50, 16, 4, generator=torch.Generator().manual_seed(0))
    found = contrast_places(uniform, torch.full((50,), 100), torch.full((50,), 5))
    assert int(found[..., 3].max()) <= 5 < int(found[..., :3].max())
    again = contrast_places(uniform[7:9], torch.full((2,), 100), torch.full((2,), 5))
    assert torch.equal(again, found[7:9])

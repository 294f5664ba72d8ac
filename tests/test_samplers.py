"""data/samplers.py: orders are permutations that need no state; groups hold every row once within the budget."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from homestretch.data.samplers import epoch_order, token_budget_batches


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(0, 2**32 - 1), st.integers(0, 50))
def test_epoch_order_is_a_pure_permutation(n, seed, epoch):
    order = epoch_order(n, seed=seed, epoch=epoch)
    assert sorted(order) == list(range(n))
    assert order == epoch_order(n, seed=seed, epoch=epoch)


def test_epochs_and_seeds_differ():
    orders = [tuple(epoch_order(50, seed=s, epoch=e)) for s in range(3) for e in range(3)]
    assert len(set(orders)) == 9


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), max_size=60), st.integers(1, 120))
def test_groups_cover_every_row_once_within_the_budget(lengths, budget):
    groups = token_budget_batches(lengths, budget=budget)
    assert sorted(i for g in groups for i in g) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[i] for i in group) <= budget
    assert groups == token_budget_batches(lengths, budget=budget)


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(1, 120))
def test_groups_are_sorted_by_length_and_full(lengths, budget):
    groups = token_budget_batches(lengths, budget=budget)
    flat = [lengths[i] for g in groups for i in g]
    assert flat == sorted(lengths, reverse=True)
    for group, following in itertools.pairwise(groups):
        assert (len(group) + 1) * lengths[group[0]] > budget or lengths[following[0]] > lengths[group[0]]


def test_a_known_grouping():
    assert token_budget_batches([3, 10, 4, 9], budget=20) == [[1, 3], [2, 0]]

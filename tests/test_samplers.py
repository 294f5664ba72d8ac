"""Orders are permutations that need no state; micro-batches hold every row once within the budget."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homestretch.data import samplers
from homestretch.data.samplers import epoch_batches, epoch_order
from homestretch.ops.micro_batches import longest_first, token_budget_batches, token_shares
from homestretch.seeds import fold


@given(st.integers(0, 200), st.integers(0, 2**32 - 1), st.integers(0, 50))
def test_epoch_order_is_a_pure_permutation(n, seed, epoch):
    order = epoch_order(n, seed=seed, epoch=epoch)
    assert sorted(order) == list(range(n))
    assert order == epoch_order(n, seed=seed, epoch=epoch)


def test_epochs_and_seeds_differ():
    orders = [tuple(epoch_order(50, seed=s, epoch=e)) for s in range(3) for e in range(3)]
    assert len(set(orders)) == 9


ROWS = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 20)), max_size=60)


def cut(rows, budget):
    """Prompts have the length of their name, so that rows of one prompt agree on it."""
    prompts, lengths = [p for p, _ in rows], [n for _, n in rows]
    return token_budget_batches(prompts, [p + 1 for p in prompts], lengths, budget=budget)


def padded_tokens(rows, group):
    packed = {}
    for i in group:
        packed[rows[i][0]] = packed.get(rows[i][0], rows[i][0] + 1) + rows[i][1]
    return len(packed) * max(packed.values())


@given(ROWS, st.integers(1, 120))
def test_groups_cover_every_row_once_within_the_budget(rows, budget):
    groups = cut(rows, budget)
    assert sorted(i for g in groups for i in g) == list(range(len(rows)))
    assert all(len(group) == 1 or padded_tokens(rows, group) <= budget for group in groups)
    assert groups == cut(rows, budget)


@given(ROWS, st.integers(1, 120))
def test_rows_of_a_prompt_stay_together_and_groups_are_full(rows, budget):
    groups = cut(rows, budget)
    flat = [rows[i][0] for g in groups for i in g]
    assert len([k for k, _ in itertools.groupby(flat)]) == len(set(flat))
    for group, following in itertools.pairwise(groups):
        assert padded_tokens(rows, [*group, following[0]]) > budget


def test_a_known_cut():
    # prompt 1 with its rows has 10 + 4 + 3 + 4 = 21 tokens, prompt 0 has 7 + 2
    assert token_budget_batches([1, 0, 1, 1], [10, 7, 10, 10], [4, 2, 3, 4], budget=22) == [[0, 2, 3], [1]]
    assert token_budget_batches([1, 0, 1, 1], [10, 7, 10, 10], [4, 2, 3, 4], budget=42) == [[0, 2, 3, 1]]


def dealt(rows, count):
    prompts, lengths = [p for p, _ in rows], [n for _, n in rows]
    return token_shares(prompts, [p + 1 for p in prompts], lengths, count=count)


@given(ROWS, st.integers(1, 9))
def test_shares_hold_every_row_once_and_parts_of_equal_cost(rows, count):
    shares = dealt(rows, count)
    assert len(shares) == count and shares == dealt(rows, count)
    assert sorted(i for share in shares for i in share) == list(range(len(rows)))
    assert all(share == sorted(share) for share in shares)
    copies = [sum(p == prompt for p, _ in rows) for prompt, _ in rows]
    cost = [n + (p + 1) / k for (p, n), k in zip(rows, copies, strict=True)] or [0]
    for share in shares:
        # each end of a share may miss its place by half a row
        assert abs(sum(cost[i] for i in share) - sum(cost) / count) <= max(cost) + 1e-9


@given(ROWS, st.integers(1, 9))
def test_shares_are_pieces_of_the_longest_first_order(rows, count):
    prompts, lengths = [p for p, _ in rows], [n for _, n in rows]
    order = longest_first(prompts, [p + 1 for p in prompts], lengths)
    place = {i: at for at, i in enumerate(order)}
    flat = [place[i] for share in dealt(rows, count) for i in sorted(share, key=place.__getitem__)]
    assert flat == list(range(len(rows)))


def test_known_shares():
    # costs: rows of prompt 1 are 4 + 12/3, 3 + 12/3, 5 + 12/3 = 8, 7, 9, the row of prompt 0 is 2 + 6 = 8; in all 32
    assert token_shares([1, 0, 1, 1], [12, 6, 12, 12], [4, 2, 3, 5], count=2) == [[0, 2], [1, 3]]
    assert token_shares([1, 0, 1, 1], [12, 6, 12, 12], [4, 2, 3, 5], count=4) == [[0], [2], [3], [1]]
    # costs: 8, 8, 8 and 40, which is more than a third of 64
    assert token_shares([1, 1, 1, 0], [12, 12, 12, 20], [4, 4, 4, 20], count=3) == [[3], [], [0, 1, 2]]
    assert token_shares([0], [6], [2], count=3) == [[], [0], []]
    assert token_shares([], [], [], count=2) == [[], []]


def test_rows_of_one_group_come_one_after_the_other():
    groups = ["a", "b", "a", "c", "b", "a"]
    batches = [epoch_batches(groups, 4, seed=0)(n) for n in range(2)]
    assert [len(b) for b in batches] == [4, 2]
    order = [groups[i] for b in batches for i in b]
    assert sorted(order) == sorted(groups) and len([k for k, _ in itertools.groupby(order)]) == 3
    for passes in ([(0, n) for n in range(9)], [(s, 0) for s in range(9)]):
        assert len({tuple(epoch_batches(groups, 6, seed=s)(n)) for s, n in passes}) > 1


def slow_batch(groups, size, seed, number):
    """A batch by its definition, from nothing: the whole pass is shuffled for it."""
    epoch, at = divmod(number, math.ceil(len(groups) / size))
    names = list(dict.fromkeys(groups))
    random.Random(fold("epoch_order", seed, epoch)).shuffle(names)
    order = [i for name in names for i in range(len(groups)) if groups[i] == name]
    return order[at * size : (at + 1) * size]


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=30),
    st.integers(1, 12),
    st.integers(0, 3),
    st.lists(st.integers(0, 40), max_size=12),
)
def test_batches_are_those_of_the_definition_in_whatever_order_they_are_asked_for(groups, size, seed, numbers):
    batch = epoch_batches(groups, size, seed=seed)
    assert [batch(n) for n in numbers] == [slow_batch(groups, size, seed, n) for n in numbers]


def test_a_pass_is_shuffled_once_for_all_its_batches(monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(samplers, "epoch_order", lambda n, *, seed, epoch: asked.append(epoch) or list(range(n)))
    batch = epoch_batches(range(10), 3, seed=0)
    assert [i for n in range(12) for i in batch(n)] == list(range(10)) * 3
    assert asked == [0, 1, 2]

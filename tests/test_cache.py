"""The cache of decoding: the same keys and values as by joining tensors, without the copies."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from homestretch.policies.cache import GrowingLayer, holes_filled


def states(rows: int, columns: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 2, columns, 4, generator=draw), torch.randn(rows, 2, columns, 3, generator=draw)


def filled(rows: int, *columns: int) -> tuple[GrowingLayer, torch.Tensor, torch.Tensor]:
    """A layer after several updates, and what it should hold."""
    layer, parts = GrowingLayer(), [states(rows, n, seed) for seed, n in enumerate(columns)]
    for keys, values in parts:
        layer.update(keys, values)
    return layer, torch.cat([k for k, _ in parts], 2), torch.cat([v for _, v in parts], 2)


def test_updates_append():
    layer, keys, values = filled(3, 5, 1, 1, 60, 1)
    assert torch.equal(layer.keys, keys) and torch.equal(layer.values, values)
    assert layer.get_seq_length() == 68


def test_a_step_moves_nothing():
    layer, *_ = filled(3, 5)
    places = {layer.keys.data_ptr()}
    for _ in range(20):
        layer.update(*states(3, 1, 0))
        places.add(layer.keys.data_ptr())
    assert len(places) == 1


def test_rows_that_stay_are_not_copied():
    layer, keys, values = filled(5, 4)
    place = layer.keys.data_ptr()
    layer.batch_select_indices(torch.tensor([0, 4, 2]))
    assert layer.keys.data_ptr() == place
    assert torch.equal(layer.keys, keys[[0, 4, 2]]) and torch.equal(layer.values, values[[0, 4, 2]])
    new = states(3, 1, 9)
    layer.update(*new)
    assert layer.keys.data_ptr() == place
    assert torch.equal(layer.keys, torch.cat([keys[[0, 4, 2]], new[0]], 2))


@pytest.mark.parametrize("order", [[2, 1, 0], [1, 2], [0, 0], [4, 4, 0, 1, 2, 3]])
def test_any_order_of_rows_is_right_even_where_places_are_overwritten(order):
    layer, keys, values = filled(5, 4)
    layer.batch_select_indices(torch.tensor(order))
    assert torch.equal(layer.keys, keys[order]) and torch.equal(layer.values, values[order])


def test_a_token_can_be_taken_back_and_another_put_in_its_place():
    layer, keys, _ = filled(2, 4, 1)
    layer.crop(-1)
    new = states(2, 1, 7)
    layer.update(*new)
    assert torch.equal(layer.keys, torch.cat([keys[:, :, :4], new[0]], 2))


def test_tensors_put_in_from_outside_are_taken_over():
    layer, keys, values = filled(2, 4)
    layer.keys, layer.values = keys[:, :, 1:], values[:, :, 1:]
    new = states(2, 1, 7)
    layer.update(*new)
    assert torch.equal(layer.keys, torch.cat([keys[:, :, 1:], new[0]], 2))
    layer.batch_repeat_interleave(3)
    more = states(6, 1, 8)
    layer.update(*more)
    assert layer.keys.shape[:3] == (6, 2, 5)
    assert torch.equal(layer.values[:, :, -1:], more[1])


@given(st.lists(st.booleans(), min_size=1, max_size=12))
def test_holes_are_filled_from_behind(done):
    order = holes_filled(torch.tensor(done)).tolist()
    live = [i for i, d in enumerate(done) if not d]
    assert sorted(order) == live
    assert all(order[i] == i for i in live if i < len(live))

"""Joined prompts and responses: independent of the side and of the content of padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import masks as reference

from homestretch.ops.masks import compact, length_mask, response_states

TOKENS = st.lists(st.integers(1, 50), max_size=5)
ROWS = st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=5)


def padded(rows: list[list[int]], *, width: int, left: list[bool], junk: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows in a rectangle with `junk` under the padding, each row padded on its own side."""
    ids, mask = [], []
    for row, on_left in zip(rows, left, strict=True):
        pad, ones = [junk] * (width - len(row)), [1] * len(row)
        ids.append(pad + row if on_left else row + pad)
        mask.append([0] * len(pad) + ones if on_left else ones + [0] * len(pad))
    return torch.tensor(ids, dtype=torch.long), torch.tensor(mask, dtype=torch.long)


def test_length_mask() -> None:
    assert length_mask(torch.tensor([0, 2, 3]), 3).tolist() == [[0, 0, 0], [1, 1, 0], [1, 1, 1]]


@given(rows=ROWS, extra=st.integers(0, 3), junk=st.integers(1, 99), data=st.data())
def test_compact_equals_joining_by_hand_for_any_padding(rows: list, extra: int, junk: int, data: st.DataObject) -> None:
    prompts, responses = [list(side) for side in zip(*rows, strict=True)]
    left = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    width = max(map(len, prompts)) + extra
    prompt_ids, prompt_mask = padded(prompts, width=width, left=left, junk=junk)
    ids, mask = padded(responses, width=max(map(len, responses)) + extra, left=[False] * len(rows), junk=junk)
    if data.draw(st.booleans()):
        prompt_mask, mask = prompt_mask.bool(), mask.bool()
    got_ids, got_mask, got_length = compact(prompt_ids, prompt_mask, ids, mask)
    want_ids, want_mask = reference.compact(prompts, responses)
    assert got_ids.tolist() == want_ids
    assert got_mask.tolist() == want_mask
    assert got_length.tolist() == [len(prompt) for prompt in prompts]


def test_compact_keeps_the_order_of_long_rows() -> None:
    # short rows would stay in order even under a sort that is not stable
    ids = torch.arange(1, 101)[None]
    mask = torch.tensor([[0, 0, 1, 1, 0] * 20])
    joined, _, _ = compact(ids, mask, ids + 100, torch.ones_like(ids))
    assert joined.tolist() == [[*ids[mask.bool()].tolist(), *range(101, 201)]]


def test_compact_of_no_rows() -> None:
    nothing = torch.zeros(0, 3, dtype=torch.long)
    ids, mask, length = compact(nothing, nothing, nothing, nothing)
    assert ids.shape == (0, 0) and mask.shape == (0, 0) and length.shape == (0,)


def test_response_states_point_at_the_state_before_each_token() -> None:
    # row 0 joined is p p p a b, row 1 is p a and padding; states in front of a and b, and behind the last token
    got = response_states(torch.tensor([3, 1]), 2, last_B=torch.tensor([4, 1]))
    assert got.tolist() == [[2, 3, 4], [0, 1, 1]]


def test_states_of_compacted_rows_predict_the_response() -> None:
    prompt_ids, prompt_mask = padded([[5, 6], [7]], width=3, left=[True, False], junk=99)
    ids, mask = padded([[1, 2, 3], [4]], width=3, left=[False, False], junk=99)
    joined, joined_mask, length = compact(prompt_ids, prompt_mask, ids, mask)
    states = response_states(length, 3, last_B=joined_mask.sum(1) - 1)
    behind = joined.gather(1, (states[:, :-1] + 1).clamp(max=joined.shape[1] - 1))
    assert (behind * mask).tolist() == (ids * mask).tolist()


def test_an_empty_prompt_fails_instead_of_reading_another_state() -> None:
    states = response_states(torch.tensor([0]), 1, last_B=torch.tensor([0]))
    with pytest.raises(RuntimeError, match="index"):
        torch.zeros(1, 2).gather(1, states)

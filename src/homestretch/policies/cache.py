"""Keys and values of rows that are being decoded: a step writes one column, and copies nothing else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

GROWTH, LEAST_ROOM = 1.5, 32


class GrowingLayer(DynamicLayer):
    """A layer whose keys and values (B, H, L, d) are the first rows and columns of larger tensors.

    Whoever replaces `keys` and `values` by tensors of their own may do so; the next step makes room again.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.key_room: Tensor | None = None
        self.value_room: Tensor | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append columns, and return all keys and values."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        self.keys, self.key_room = _appended(self.keys, self.key_room, key_states, start)
        self.values, self.value_room = _appended(self.values, self.value_room, value_states, start)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Only these rows, in this order. Rows that stay in their place are not copied if none is overwritten."""
        kept = len(indices)
        moved = (indices != torch.arange(kept, device=indices.device)).nonzero().flatten()
        if not self.get_seq_length() or bool((indices[moved] < kept).any()):
            super().batch_select_indices(indices)
            return
        for rows in (self.keys, self.values):
            rows[moved] = rows[indices[moved]]
        self.keys, self.values = self.keys[:kept], self.values[:kept]


def growing_cache() -> DynamicCache:
    """A cache of such layers, as many as the model turns out to have.

    Every layer keeps all its tokens, whatever its attention window: one that does not cannot take a token back.
    """
    cache = DynamicCache()
    cache.layer_class_to_replicate = GrowingLayer
    return cache


def holes_filled(done_B: Tensor) -> Tensor:
    """The rows that are not done (K,), in an order that leaves as many in their place as possible: later rows take the
    places of the done ones among the first K."""
    live = (~done_B).nonzero().flatten()
    order = torch.arange(len(live), device=done_B.device)
    order[done_B[: len(live)]] = live[live >= len(live)]
    return order


def _appended(view: Tensor, room: Tensor | None, new: Tensor, start: int) -> tuple[Tensor, Tensor]:
    end, rows = start + new.shape[-2], len(new)
    if room is None or view.data_ptr() != room.data_ptr() or end > room.shape[2] or rows > len(room):
        room = new.new_empty(*new.shape[:2], max(int(GROWTH * end), end + LEAST_ROOM), new.shape[3])
        if start:
            room[:, :, :start] = view
    room[:rows, :, start:end] = new
    return room[:rows, :, :end], room

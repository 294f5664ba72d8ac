"""Decoding steps whose shapes and places do not change, so that a device can play one back instead of being told anew.

A step of a small model on a GPU is hundreds of kernels, each of which takes longer to launch than to run; a captured
graph launches them at one go. What a graph reads and writes must lie where it lay when it was captured, so keys and
values stay in rooms of fixed size, rows and columns come in buckets, and a mask hides what is not in use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from homestretch.policies.packed import attention_masks
from homestretch.policies.rows import decoder_of

FINE_ROWS, COLUMNS = 32, 128
"""Up to so many rows their buckets double, then they are multiples of it; buckets of columns are multiples."""

Run = Callable[[], Tensor]


class FixedSteps:
    """Steps of the rows of one cache. `capture` makes a function without arguments into one that plays back what it
    has done, on the same tensors; a shape that comes once only is not captured."""

    def __init__(self, lm: PreTrainedModel, capture: Callable[[Run], Run]) -> None:
        self.lm, self.capture = lm, capture
        self.rooms: list[tuple[Tensor, Tensor]] = []
        self.shapes: dict[tuple[int, int], FixedStep] = {}

    def step(self, cache: DynamicCache, token_B: Tensor, mask_BL: Tensor) -> Tensor:
        """Append one token to every row and return the states behind it, (B, D). The mask counts the new tokens, the
        cache does not yet."""
        count, width = mask_BL.shape
        shape = bucket(count, width)
        self._settle(cache, *shape)
        if shape not in self.shapes:
            self.shapes[shape] = FixedStep(self.lm, self.rooms, *shape)
        hidden_BD = self.shapes[shape](token_B, mask_BL, self.capture).clone()
        for layer, (keys, values) in zip(cache.layers, self.rooms, strict=True):
            layer.keys, layer.values = keys[:count, :, :width], values[:count, :, :width]
        return hidden_BD

    def _settle(self, cache: DynamicCache, rows: int, columns: int) -> None:
        """Keys and values into rooms of at least this size, if they are not there already."""
        fits = bool(self.rooms) and _fits(self.rooms[0][0], cache.layers[0].keys, rows, columns)
        if not fits:
            self.shapes.clear()
            self.rooms.clear()
        for i, layer in enumerate(cache.layers):
            if not fits:  # a layer at a time, so that only one is there twice
                self.rooms.append((_room(layer.keys, rows, columns), _room(layer.values, rows, columns)))
            key_room, value_room = self.rooms[i]
            layer.keys, layer.values = _moved(layer.keys, key_room), _moved(layer.values, value_room)


class FixedStep:
    """A step of so many rows over so many columns; unused rows read a token that nobody sees."""

    def __init__(self, lm: PreTrainedModel, rooms: list[tuple[Tensor, Tensor]], rows: int, columns: int) -> None:
        device = rooms[0][0].device
        self.lm, self.decoder, self.uses = lm, decoder_of(lm), 0
        self.token_R1 = torch.zeros(rows, 1, dtype=torch.long, device=device)
        self.position_R1 = torch.zeros_like(self.token_R1)
        self.at_1 = torch.zeros(1, dtype=torch.long, device=device)
        self.column_C = torch.arange(columns, device=device)
        self.seen_RC = torch.zeros(rows, columns, dtype=torch.bool, device=device)
        self.cache = Cache(
            layers=[FixedLayer(k[:rows, :, :columns], v[:rows, :, :columns], self.at_1) for k, v in rooms]
        )
        self.run: Run = self._run

    def __call__(self, token_B: Tensor, mask_BL: Tensor, capture: Callable[[Run], Run]) -> Tensor:
        """The states (B, D) behind one more token of each row; they are overwritten by the next call."""
        count, width = mask_BL.shape
        self.token_R1[:count, 0] = token_B
        self.position_R1[:count, 0] = mask_BL.sum(1) - 1
        self.at_1.fill_(width - 1)
        self.seen_RC.zero_()
        self.seen_RC[count:, 0] = True  # a row that sees nothing has no softmax
        self.seen_RC[:count, :width] = mask_BL.bool()
        self.uses += 1
        if self.uses == 2:
            self.run = capture(self._run)
        return self.run()[:count]

    def _run(self) -> Tensor:
        def visible(window: int | None) -> Tensor:
            seen_RC = self.seen_RC if window is None else self.seen_RC & (self.column_C > self.at_1 - window)
            return seen_RC[:, None, None]

        out = self.decoder(
            input_ids=self.token_R1,
            attention_mask=attention_masks(self.lm, visible),
            position_ids=self.position_R1,
            past_key_values=self.cache,
            use_cache=True,
        )
        return out.last_hidden_state[:, -1]


class FixedLayer(DynamicLayer):
    """Keys and values (R, H, C, d) in their place, of which an update writes the column `at`."""

    def __init__(self, keys: Tensor, values: Tensor, at_1: Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values, self.at_1 = keys, values, at_1

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write one column, and return all."""
        self.keys.index_copy_(2, self.at_1, key_states.to(self.keys.dtype))
        self.values.index_copy_(2, self.at_1, value_states.to(self.values.dtype))
        return self.keys, self.values


def bucket(rows: int, columns: int) -> tuple[int, int]:
    """The smallest fixed shape that holds so many rows and columns."""
    enough = 1 << (rows - 1).bit_length() if rows <= FINE_ROWS else -(-rows // FINE_ROWS) * FINE_ROWS
    return enough, -(-columns // COLUMNS) * COLUMNS


def _fits(room: Tensor, states: Tensor, rows: int, columns: int) -> bool:
    return room.dtype == states.dtype and len(room) >= rows and room.shape[2] >= columns


def _room(states: Tensor, rows: int, columns: int) -> Tensor:
    # Zeros: a hidden place adds its value times nothing, which is nothing unless the value is not a number.
    return states.new_zeros(rows, states.shape[1], columns, states.shape[3])


def _moved(states: Tensor, room: Tensor) -> Tensor:
    """The states in the first rows and columns of the room."""
    place = room[: len(states), :, : states.shape[2]]
    if states.data_ptr() != place.data_ptr() or states.stride() != place.stride():
        shared = states.untyped_storage().data_ptr() == room.untyped_storage().data_ptr()
        place.copy_(states.clone() if shared else states)
    return place

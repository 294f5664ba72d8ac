"""A goal model's rows beside those that are being decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from homestretch.generation.schedule import pad_left
from homestretch.policies.caches import stacked_masks
from homestretch.policies.causal import CausalDecoding
from homestretch.policies.policy import Policy, StartDecoding


@contextmanager
def reading(policy: Policy | None) -> Iterator[StartDecoding | None]:
    """A model made ready to read, for a block; without one nothing happens."""
    if policy is None:
        yield None
        return
    with policy.decoding() as start:
        yield start


def started(
    start: StartDecoding, prompts: Sequence[list[int]], copies: int, device: torch.device
) -> tuple[CausalDecoding, Tensor]:
    """A state that has read these prompts, with copies of each side by side, and no waiting tokens (B, 0)."""
    state = start(*pad_left(list(prompts), device))
    assert isinstance(state, CausalDecoding)
    if copies > 1:
        state.repeat(copies)
    return state, torch.zeros(len(prompts) * copies, 0, dtype=torch.long, device=device)


@dataclass
class Beside:
    """`state` has read all tokens of its rows but the waiting ones, of which `waits_BN` says which are real. `COLUMNS`
    name what else each row has."""

    COLUMNS: ClassVar[tuple[str, ...]] = ()

    state: CausalDecoding
    waiting_BN: Tensor
    waits_BN: Tensor

    def wait(self, token_B: Tensor) -> None:
        """One more token of every row, to be read later."""
        self.waiting_BN = torch.cat([self.waiting_BN, token_B[:, None]], 1)
        self.waits_BN = torch.cat([self.waits_BN, torch.ones_like(token_B)[:, None]], 1)

    def taken(self) -> tuple[Tensor, Tensor]:
        """The waiting tokens and their mask, which wait no longer."""
        found = self.waiting_BN, self.waits_BN
        self.waiting_BN, self.waits_BN = self.waiting_BN[:, :0], self.waits_BN[:, :0]
        return found

    def only(self, kept: Tensor) -> None:
        """Drop all but these rows, in this order."""
        self.state.keep(kept)
        for name in (*self.COLUMNS, "waiting_BN", "waits_BN"):
            setattr(self, name, getattr(self, name)[kept])

    def join(self, other: Self) -> None:
        """The rows of another set behind these."""
        self.state.join(other.state)
        for name in self.COLUMNS:
            setattr(self, name, torch.cat([getattr(self, name), getattr(other, name)]))
        for name in ("waiting_BN", "waits_BN"):
            setattr(self, name, stacked_masks(getattr(self, name), getattr(other, name), padding="front"))

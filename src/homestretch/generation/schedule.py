"""Which rows are decoded at a time: longest prompts first, as many as may run and as their caches have room for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import PreTrainedModel

from homestretch import ranks
from homestretch.collectives import merged
from homestretch.policies.causal import CausalDecoding
from homestretch.policies.memory import total
from homestretch.policies.policy import Policy, StartDecoding
from homestretch.policies.seq2seq import Seq2SeqDecoding

MAX_ROWS, MAX_ROWS_ELSEWHERE = {"cpu": 48}, 256
"""Rows at a time where nothing else is said: a CPU's own caches hold no more."""
CACHE_SHARE = 0.25
"""Share of the device's memory for keys and values where nothing else is said. All of it is counted, not what is free
now, so that the same machine always makes the same choice."""

State = CausalDecoding | Seq2SeqDecoding
_TOKEN_BYTES: WeakKeyDictionary[PreTrainedModel, float] = WeakKeyDictionary()


@dataclass(frozen=True)
class Sample:
    """One generated response: token ids (end marker included when there is one), their log-probabilities under the
    sampling distribution, whether it ended by itself, what a head made of the state before each token, and whether a
    watch gave it up."""

    ids: list[int]
    logp: list[float]
    terminated: bool
    value: list[float] = field(default_factory=list)
    given_up: bool = False


OnDone = Callable[[Mapping[tuple[int, int], Sample]], None]
"""Is told of samples that are finished, by (prompt, number of the sample)."""


def counted(advance: Callable[..., None]) -> OnDone:
    """Tells a progress bar of samples and their tokens."""
    return lambda done: advance(len(done), tokens=sum(len(sample.ids) for sample in done.values()))


@dataclass
class UnderWay:
    """Rows that are being decoded; each prompt has the same number of them. What they have is in tensors (`COLUMNS`)
    and lists (`LISTS`) of equal length; the first of each key is the number of a prompt."""

    COLUMNS: ClassVar[tuple[str, ...]]
    LISTS: ClassVar[tuple[str, ...]] = ("keys",)

    state: State
    keys: list[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.keys)

    def prompts(self) -> set[int]:
        """The prompts that have rows left."""
        return {i for i, _ in self.keys}

    def after(self, others: Self | None) -> Self:
        """These rows behind others that are under way."""
        if not others:
            return self
        others.state.join(self.state)
        columns = {name: torch.cat([getattr(others, name), getattr(self, name)]) for name in self.COLUMNS}
        lists = {name: getattr(others, name) + getattr(self, name) for name in self.LISTS}
        return replace(others, **columns, **lists)

    def only(self, kept: Tensor) -> None:
        """Drop all but these, in this order; the state is not touched."""
        for name in self.COLUMNS:
            setattr(self, name, getattr(self, name)[kept])
        places = kept.tolist()
        for name in self.LISTS:
            setattr(self, name, [getattr(self, name)[i] for i in places])

    def advance(self, policy: Policy) -> dict[tuple[int, int], Sample]:
        """One more token for every row; what is finished with it, by prompt and number of the sample, has left."""
        raise NotImplementedError


@dataclass(frozen=True)
class Limits:
    """Rows at a time and tokens that their caches may hold, padding included; at least one prompt always goes."""

    rows: int
    cache_tokens: int

    def room(self, longest: int, copies: int) -> int:
        """Rows that may run at a time where none has more than `longest` tokens, in whole prompts."""
        return max(min(self.rows, self.cache_tokens // longest) // copies, 1) * copies


R = TypeVar("R", bound=UnderWay)


def decode(
    policy: Policy,
    prompts: Sequence[list[int]],
    begin: Callable[[State, list[int]], R],
    copies: int,
    max_new_tokens: int,
    max_rows: int | None,
    max_cache_tokens: int | None,
    *,
    on_done: OnDone | None,
) -> dict[tuple[int, int], Sample]:
    """Decode all prompts with `copies` rows each; `begin` makes the rows of a state that has read some of them.

    Prompts are dealt out to all processes, each of which gets the whole result.
    """
    longest_first = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), i))
    waiting = longest_first[ranks.rank() :: ranks.count()]
    results: dict[tuple[int, int], Sample] = {}
    with policy.decoding() as start:
        limits = Limits(
            max_rows or MAX_ROWS.get(policy.device.type, MAX_ROWS_ELSEWHERE),
            max_cache_tokens or cache_tokens(policy, start),
        )
        rows: R | None = None
        while waiting or rows:
            live = {*(rows.prompts() if rows else ()), *waiting[:1]}
            limit = limits.room(max(len(prompts[i]) for i in live) + max_new_tokens, copies)
            room = limit - len(rows or ())
            # Reading few prompts costs a step about as much as reading many, so half of the places are awaited.
            if waiting and (not rows or (rows.state.joins and room >= max(limit // 2, copies))):
                admitted, waiting = waiting[: room // copies], waiting[room // copies :]
                state = start(*pad_left([prompts[i] for i in admitted], policy.device))
                if copies > 1:
                    state.repeat(copies)
                rows = begin(state, admitted).after(rows)
            assert rows
            finished = rows.advance(policy)
            results |= finished
            if finished and on_done is not None:
                on_done(finished)
    whole = merged(results)
    theirs = {key: sample for key, sample in whole.items() if key not in results}
    if theirs and on_done is not None:
        on_done(theirs)
    return whole


def cache_tokens(policy: Policy, start: StartDecoding) -> int:
    """Tokens whose keys and values fill their share of the device's memory."""
    lm = policy.trunk.lm
    if lm not in _TOKEN_BYTES:
        _TOKEN_BYTES[lm] = start(*pad_left([[0]], policy.device)).token_bytes()
    return max(int(CACHE_SHARE * total(policy.device) / _TOKEN_BYTES[lm]), 1)


def pad_left(prompts: Sequence[list[int]], device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Token ids and mask (B, P) of prompts, padding on the left."""
    width = max(len(p) for p in prompts)
    ids_BP = torch.tensor([[0] * (width - len(p)) + p for p in prompts], device=device)
    mask_BP = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
    return ids_BP, mask_BP

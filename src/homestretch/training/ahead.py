"""Rewards that are computed elsewhere than the policy, asked for while it is still drawing other samples."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from homestretch import ranks
from homestretch.data.records import Example
from homestretch.generation.schedule import Sample
from homestretch.rewards.base import Reward
from homestretch.rewards.features import FeatureReward
from homestretch.rewards.named import NamedReward, ask

Row = tuple[Example, str, bool]
"""An example, a completion, and whether it ended by itself."""


class Ahead:
    """Begins to ask rewards for each sample as it is finished. `over` says which rewards; until then none is asked."""

    def __init__(self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, device: torch.device) -> None:
        self.examples, self.tokenizer, self.device = examples, tokenizer, device
        self.rewards: list[AskedAhead] = []

    def over(self, rewards: Sequence[NamedReward]) -> list[NamedReward]:
        """The same rewards, those that are computed elsewhere being asked ahead. With several processes none is:
        there each computes the rewards of its own share of a round."""
        found = []
        for named in rewards:
            if ranks.count() == 1 and elsewhere(named, self.device):
                self.rewards.append(AskedAhead(named.reward))
                named = replace(named, reward=self.rewards[-1])
            found.append(named)
        return found

    def begin(self, index: int, sample: Sample) -> None:
        """A sample that answers the example of this number is finished."""
        if self.rewards:
            text = self.tokenizer.decode(sample.ids, skip_special_tokens=True)
            for reward in self.rewards:
                reward.begin((self.examples[index], text, sample.terminated))


def elsewhere(named: NamedReward, device: torch.device) -> bool:
    """Whether a reward leaves the policy's device alone: a judge behind an endpoint, a function beside a GPU, or
    features of which one does."""
    if isinstance(named.reward, FeatureReward):
        return any(isinstance(p, NamedReward) and elsewhere(p, device) for p in named.reward.features.values())
    return named.term.judge is not None or (named.term.function is not None and device.type != "cpu")


class AskedAhead:
    """A reward that is asked in one thread, for as many rows at a time as have come in meanwhile. It follows the
    `Reward` protocol, and raises what the reward raises when its answer is due."""

    def __init__(self, reward: Reward) -> None:
        self.reward = reward
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="reward")
        self.waiting: deque[Row] = deque()
        self.turns: list[Future[None]] = []
        self.known: dict[str, float | None] = {}

    def begin(self, row: Row) -> None:
        """Ask for a row as soon as the thread is free."""
        self.waiting.append(row)
        self.turns.append(self.thread.submit(self._turn))

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[str], **columns: Sequence[Any]
    ) -> list[float | None]:
        """The rewards of rows, asked ahead or not. What was asked ahead is forgotten afterwards."""
        turns, self.turns = self.turns, []
        for turn in turns:
            turn.result()
        keys = _keys(prompts, completions, columns)
        others = [i for i, key in enumerate(keys) if key not in self.known]
        if others:

            def of(values: Sequence[Any]) -> list[Any]:
                return [values[i] for i in others]

            new = self.reward(of(prompts), of(completions), **{name: of(v) for name, v in columns.items()})
            self.known |= dict(zip((keys[i] for i in others), new, strict=True))
        found = [self.known[key] for key in keys]
        self.known.clear()
        return found

    def _turn(self) -> None:
        rows = [self.waiting.popleft() for _ in range(len(self.waiting))]
        if rows:
            examples, completions, terminated = (list(column) for column in zip(*rows, strict=True))
            ask(self._remembered, examples, completions, terminated)

    def _remembered(
        self, prompts: Sequence[Any], completions: Sequence[str], **columns: Sequence[Any]
    ) -> list[float | None]:
        found = list(self.reward(prompts, completions, **columns))
        self.known |= dict(zip(_keys(prompts, completions, columns), found, strict=True))
        return found


def _keys(prompts: Sequence[Any], completions: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> list[str]:
    """All that is asked of each row, since `where` is a line, on which several rows may stand. A column that a row
    lacks is there as None only where another row of the same question has it."""
    rows = zip(prompts, completions, *columns.values(), strict=True)
    return [
        repr((prompt, text, [(k, v) for k, v in zip(columns, values, strict=True) if v is not None]))
        for prompt, text, *values in rows
    ]

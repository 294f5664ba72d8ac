"""A model's reward that is asked about a text once: what it gave is in the user's cache (`rewards.cache`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from homestretch import ranks
from homestretch.rewards.base import Reward
from homestretch.rewards.cache import scored_once


@dataclass(frozen=True)
class Remembered:
    """The same reward; it follows the `Reward` protocol.

    `scorer` names the content of its model; `key` gives one of what the model reads of a prompt, a completion, and
    whether that ended by itself. Raises InputError where the cache cannot be used.
    """

    reward: Reward
    scorer: str
    key: Callable[[Any, str, bool], str]

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[str], *, terminated: Sequence[bool] = (), **_: Any
    ) -> list[float | None]:
        """The rewards of completions, known or asked for."""
        rows = list(zip(prompts, completions, list(terminated) or [True] * len(completions), strict=True))

        def ask(indices: list[int]) -> Sequence[float | None]:
            some, texts, ended = zip(*(rows[i] for i in indices), strict=True)
            return self.reward(some, texts, terminated=ended)

        with ranks.alone():  # each process asks about rows of its own, if any
            return scored_once(self.scorer, [self.key(*row) for row in rows], ask)

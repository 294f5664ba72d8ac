"""A model's reward that is asked about a text once: what it gave is in the user's cache (`rewards.cache`).

Stored text and features are asked about by the same names, so that each knows what the other has asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homestretch import ranks
from homestretch.config.rewards import RewardTerm
from homestretch.rewards.base import Reward
from homestretch.rewards.cache import content_key, model_key, scored_once
from homestretch.rewards.features import read_features
from homestretch.rewards.functions import source_key
from homestretch.rewards.model import read_description

READING = 2
"""Counts changes of what a classifier is given to read: what a cache holds is of the text as it was read then."""


def contents(term: RewardTerm) -> list[str]:
    """Names for the content of all that a term names: the file of its function, its models and its folders, with what
    these name in turn."""
    functions = [term.function] if term.function is not None else []
    folders = [folder for folder in (term.classifier, term.features) if folder is not None]
    models = reward_keys(term.reward_model) if term.reward_model is not None else []
    inner = read_features(term.features)[0].features.values() if term.features is not None else []
    own = [source_key(place) for place in functions] + [model_key(folder) for folder in folders] + models
    return own + [key for feature in inner for key in contents(feature)]


def reward_keys(folder: str | Path, **options: Any) -> list[str]:
    """Names for the content of a reward model, and of the base that its adapter is for.

    Of `options`, those of `load_reward`, the base's revision counts where the folder does not say it.
    """
    description = read_description(Path(folder))
    base, revision = description["base"], description["revision"] or options.get("revision")
    return [model_key(str(folder)), *([model_key(base, revision=revision)] if base else [])]


def scorer_key(term: RewardTerm, device: str) -> str | None:
    """A name for the classifier or the reward model of another run behind a term; None where another reward is."""
    if term.classifier is not None:
        return content_key(READING, model_key(term.classifier), term.label, term.reads, device)
    if term.reward_model is not None:
        return content_key("reward model", reward_keys(term.reward_model), device)
    return None


def text_key(term: RewardTerm, prompt: Any, completion: str, terminated: bool = True) -> str:
    """A name for what such a model reads of a prompt, a completion, and whether that ended by itself."""
    if term.classifier is not None:
        return content_key(prompt if term.reads != "completion" else None, completion)
    return content_key(prompt, completion, terminated)


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

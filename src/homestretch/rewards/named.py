"""The rewards that a recipe names (`config.rewards`), ready to be asked, and their weighted terms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from homestretch import ranks
from homestretch.batch import SequenceBatch
from homestretch.collectives import mapped
from homestretch.config.features import FeatureTerm
from homestretch.config.rewards import MODEL, OWN, RewardTerm
from homestretch.data.records import Example
from homestretch.errors import InputError
from homestretch.rewards.base import Reward
from homestretch.rewards.features import FeatureReward, read_features
from homestretch.rewards.functions import FunctionReward, load_function
from homestretch.rewards.judge import Judge
from homestretch.rewards.local import LocalReward
from homestretch.rewards.model import load_reward
from homestretch.rewards.remembered import Remembered, scorer_key, text_key
from homestretch.rewards.rules import REWARDS
from homestretch.rewards.sequence_classifier import load_sequence_classifier


@dataclass(frozen=True)
class NamedReward:
    """A term of a sum and the reward behind it."""

    name: str
    term: RewardTerm
    reward: Reward

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[str], **columns: Sequence[Any]
    ) -> list[float | None]:
        """The term of each completion; None where the reward does not apply."""
        terms_N = weighted(self.term, list(self.reward(prompts, completions, **columns)))
        return [None if math.isnan(value) else value for value in terms_N.tolist()]


def load_rewards(
    terms: Mapping[str, RewardTerm],
    *,
    device: torch.device | str = "cpu",
    trust_remote_code: bool = False,
) -> list[NamedReward]:
    """The rewards of terms with a weight, but for `model`, which reads token ids. Raises InputError."""

    def load(name: str, term: RewardTerm) -> Reward:
        if term.function is not None:
            return FunctionReward(name, load_function(name, term.function))
        if term.classifier is not None:
            return load_sequence_classifier(
                term.classifier,
                label=term.label,
                reads=term.reads,
                device=device,
                trust_remote_code=trust_remote_code,
            )
        if term.column is not None:
            return Column(name, term.column)
        if term.reward_model is not None:
            return load_reward(term.reward_model, device=device, trust_remote_code=trust_remote_code)
        if term.local is not None:
            return LocalReward(term.local, device)
        if term.judge is not None:
            return Judge(name, term.judge)
        if term.features is not None:
            config, net = read_features(term.features)
            parts = load_features(config.features, device=device, trust_remote_code=trust_remote_code)
            return FeatureReward(config, net, {part.name: part for part in parts})
        return REWARDS[name]

    return [NamedReward(name, term, load(name, term)) for name, term in terms.items() if term.weight and name != MODEL]


def load_features(
    terms: Mapping[str, FeatureTerm], *, device: torch.device | str = "cpu", trust_remote_code: bool = False
) -> list[NamedReward]:
    """The rewards that features are. A model is asked about a text once, and a column gives None where a row has no
    number, so that `features.scaled` names all such rows. Raises InputError."""
    found = load_rewards(terms, device=device, trust_remote_code=trust_remote_code)
    return [replace(named, reward=_as_feature(named, torch.device(device).type)) for named in found]


def _as_feature(named: NamedReward, device: str) -> Reward:
    term = named.term
    if term.column is not None:
        return Column(named.name, term.column, required=False)
    # Dealt-out weights of a reward model need every process at every pass.
    scorer = None if term.reward_model is not None and ranks.sharded() else scorer_key(term, device)
    return named.reward if scorer is None else Remembered(named.reward, scorer, partial(text_key, term))


def ask(
    reward: Reward, examples: Sequence[Example], completions: Sequence[str], terminated: Sequence[bool]
) -> list[float | None]:
    """The reward of a completion for each example, with the data's columns; None where an example lacks one.

    Beside them there are `references`, `document`, `terminated` (whether the completion ended by
    itself) and `where` (file and line). Columns of the data that are called as one of these, `prompts` or `completions`
    are not given.
    """
    names = {name for e in examples for name in e.columns if name not in (*OWN, "self")}
    columns: dict[str, list[Any]] = {name: [e.columns.get(name) for e in examples] for name in sorted(names)}
    columns |= {
        "references": [list(e.references) for e in examples],
        "document": [e.source for e in examples],
        "terminated": list(terminated),
        "where": [e.where for e in examples],
    }
    return list(reward([e.prompt for e in examples], completions, **columns))


def of_samples(
    rewards: Sequence[NamedReward],
    examples: Sequence[Example],
    responses: SequenceBatch,
    tokenizer: PreTrainedTokenizerBase,
) -> dict[str, Tensor]:
    """Weighted terms (B,) of sampled responses by name; `index_B` says which of the examples each answers."""
    if not rewards:
        return {}
    assert responses.index_B is not None
    ended = [True] * len(responses) if responses.terminated_B is None else responses.terminated_B.tolist()
    texts = [
        tokenizer.decode(ids[mask.bool()], skip_special_tokens=True)
        for ids, mask in zip(responses.ids_BT, responses.mask_BT, strict=True)
    ]
    rows = list(zip((examples[i] for i in responses.index_B.tolist()), texts, ended, strict=True))

    def term(named: NamedReward) -> Tensor:
        def of_rows(some: list[tuple[Example, str, bool]]) -> list[float | None]:
            answered, completions, terminated = (list(column) for column in zip(*some, strict=True))
            return ask(named.reward, answered, completions, terminated)

        return weighted(named.term, mapped(of_rows, rows)).to(responses.ids_BT.device)

    return {named.name: term(named) for named in rewards}


def weighted(term: RewardTerm, rewards: Sequence[float | None]) -> Tensor:
    """The term (N,), float32: weight times reward or its sigmoid; NaN where the reward does not apply."""
    reward_N = torch.tensor([torch.nan if r is None else r for r in rewards], dtype=torch.float32)
    return term.weight * (reward_N.sigmoid() if term.sigmoid else reward_N)


@dataclass(frozen=True)
class Column:
    """A number that the data hold: a column, or a part of one behind dots."""

    name: str
    path: str
    required: bool = True

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[str], where: Sequence[str] = (), **columns: Sequence[Any]
    ) -> list[float | None]:
        """The finite numbers of the rows; where a row has none, None, or InputError if it is `required`."""
        root, _, rest = self.path.partition(".")
        found = [_number(value, rest) for value in columns.get(root, [None] * len(completions))]
        if self.required and None in found:
            raise InputError(
                f"{where[found.index(None)]}: the reward `{self.name}` reads the column `{self.path}`, and the row has "
                "no finite number there; correct the row, or the column's name."
            )
        return found


def _number(value: Any, rest: str) -> float | None:
    """The finite number at the parts of a path in a value; None where there is none."""
    for part in rest.split(".") if rest else ():
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, Sequence) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            value = None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None

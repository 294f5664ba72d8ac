"""Rewards beside each other on the same pairs of a better and a worse text, and what rewards of features look at."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from homestretch.data.records import Example, completion_text, prompt_text, side
from homestretch.data.sources import SHARES
from homestretch.errors import InputError
from homestretch.metrics.agreement import agreement, lead, right_order
from homestretch.metrics.sentences import counted_words
from homestretch.ordered import LENGTH, Disagreement, Explanation, FitRecord, Ordered
from homestretch.verbs.features import FIT, SIDES, feature_values, pairs_of, scores
from homestretch.verbs.reward import Device, reward_folder, score_texts
from homestretch.writing import check_writable

if TYPE_CHECKING:
    from torch import Tensor

    from homestretch.config.features import FeaturesConfig
    from homestretch.data.sources import OnBadRow

SHOWN = 12
"""Disagreements that are kept."""
Sides = tuple[Sequence[float], Sequence[float]]
"""Numbers (N,) of the better and of the worse texts."""


@dataclass(frozen=True)
class Scored:
    """Scores of either side of N pairs; of a reward of features also those by name, as shares of their ranges."""

    chosen_N: Sequence[float]
    rejected_N: Sequence[float]
    features: dict[str, Sides] = field(default_factory=dict)
    explanation: Explanation | None = None


def compare_rewards(
    data: str | Path,
    rewards: str | Path | Sequence[str | Path] | Mapping[str, str | Path],
    *,
    all_pairs: bool = False,
    report: str | Path | None = None,
    on_bad_row: OnBadRow = "error",
    device: Device = "auto",
) -> Ordered:
    """How rewards order the data's pairs, beside length, and what those of features look at.

    `rewards` are folders of rewards of features, of reward models, or of runs that have one; a mapping gives them
    names. Measured on the pairs that `reward fit` on the same data fits none of these rewards to: the validation split,
    and the prompts that it cuts off where there is no validation split, or for reward models no test split; with
    `all_pairs` on all pairs but those of a test split. `report` is an HTML file to write. Raises InputError.
    """
    from homestretch.rewards.features import SETTINGS, read_features
    from homestretch.rewards.model import read_description

    if report is not None:
        check_writable(report)
    folders = _named([rewards] if isinstance(rewards, str | Path) else rewards)
    nets = {name: read_features(folder) for name, folder in folders.items() if (folder / SETTINGS).is_file()}
    models = {name: read_description(folder) for name, folder in folders.items() if name not in nets}
    shares = {(config.validation_fraction, 0.0) for config, _ in nets.values()} | ({SHARES} if models else set())
    pairs = _pairs(data, set() if all_pairs else shares, on_bad_row)
    if not pairs:
        raise InputError(f"{data}: no pair is held out; give more, or take all of them with --all-pairs.")
    found = {
        name: _of_model(folder, pairs, device) if name in models else _of_features(folder, pairs)
        for name, folder in folders.items()
    }
    record = ordered(found, pairs, data=str(data), held_out=not all_pairs)
    if report is not None:
        from homestretch.report.ordered_page import write_page

        write_page(record, Path(report))
    return record


def explain_features(
    reward: str | Path,
    data: str | Path,
    *,
    all_pairs: bool = False,
    report: str | Path | None = None,
    on_bad_row: OnBadRow = "error",
) -> Ordered:
    """`compare_rewards` of one reward, which must be one of features. Raises InputError."""
    from homestretch.rewards.features import read_features

    read_features(reward)
    return compare_rewards(data, reward, all_pairs=all_pairs, report=report, on_bad_row=on_bad_row)


def ordered(found: Mapping[str, Scored], pairs: Sequence[Example], *, data: str, held_out: bool) -> Ordered:
    """The record of scores of the same pairs, by the names of the rewards."""
    prompts = [prompt_text(pair) for pair in pairs]
    who = [None if (name := pair.columns.get("annotator")) is None else str(name) for pair in pairs]
    simple = _baselines(found, pairs)
    right = {name: right_order(one.chosen_N, one.rejected_N) for name, one in found.items()}
    right[LENGTH] = right_order(*simple[LENGTH])
    return Ordered(
        data=data,
        pairs=len(pairs),
        held_out=held_out,
        rewards={
            name: agreement(one.chosen_N, one.rejected_N, prompts, log_odds=True, annotators=who)
            for name, one in found.items()
        },
        baselines={name: agreement(*sides, prompts, log_odds=False) for name, sides in simple.items()},
        comparisons=[lead(a, b, right, prompts) for a, b in [*combinations(found, 2), *((n, LENGTH) for n in found)]],
        explanations={name: one.explanation for name, one in found.items() if one.explanation is not None},
        disagreements=_disagreements(next(iter(found.values())), pairs, who),
    )


def _pairs(data: str | Path, fits: set[tuple[float, float]], on_bad_row: OnBadRow) -> list[Example]:
    """The pairs that no fit with one of these shares of validation and test prompts has seen."""
    train, validation = pairs_of(data, shares=(0, 0), on_bad_row=on_bad_row)
    fitted = {pair.where for shares in fits for pair in pairs_of(data, shares=shares, on_bad_row=on_bad_row)[0]}
    return [pair for pair in (*train, *validation) if pair.where not in fitted]


def _named(rewards: Sequence[str | Path] | Mapping[str, str | Path]) -> dict[str, Path]:
    """Folders by name; without a mapping the name is the folder's, or the whole path where two are called alike."""
    if isinstance(rewards, Mapping):
        named = {name: Path(place) for name, place in rewards.items()}
    else:
        names = [Path(place).resolve().name for place in rewards]
        named = {n if names.count(n) == 1 else str(p): Path(p) for n, p in zip(names, rewards, strict=True)}
    if not named:
        raise InputError("There is no reward to compare; name the folder of one at least.")
    if LENGTH in named:
        raise InputError(f"`{LENGTH}` is the name of a baseline; rename that reward's folder.")
    return {name: reward_folder(place) for name, place in named.items()}


def _of_features(folder: Path, pairs: Sequence[Example]) -> Scored:
    from homestretch.rewards.feature_explain import explanation
    from homestretch.rewards.features import read_features

    config, net = read_features(folder)
    values = feature_values(config, pairs)
    chosen_N, rejected_N = (scored_N.tolist() for scored_N in scores(net, *values))
    explained = explanation(config, net, *values).model_copy(update={"fit": _fit_record(folder)})
    return Scored(chosen_N, rejected_N, _by_name(config, *values), explained)


def _by_name(config: FeaturesConfig, chosen_NF: Tensor, rejected_NF: Tensor) -> dict[str, Sides]:
    columns = zip(sorted(config.features), chosen_NF.T.tolist(), rejected_NF.T.tolist(), strict=True)
    return {name: (chosen_N, rejected_N) for name, chosen_N, rejected_N in columns}


def _fit_record(folder: Path) -> FitRecord | None:
    """What `fit.json` says, as far as it does: a folder without it is a reward all the same."""
    try:
        given = json.loads((folder / FIT).read_text(encoding="utf-8"))
        return FitRecord.model_validate({name: given[name] for name in FitRecord.model_fields if name in given})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{folder / FIT} cannot be read ({reason}); fit the reward again, or remove it.") from None


def _of_model(folder: Path, pairs: Sequence[Example], device: Device) -> Scored:
    sides = [replace(side(pair, name), where=f"{pair.where}, {name}") for name in SIDES for pair in pairs]
    ended = [e.columns.get("terminated") is not False for e in sides]
    scored = score_texts(folder, [e.prompt for e in sides], [completion_text(e) for e in sides], ended, device=device)
    return Scored(scored[: len(pairs)], scored[len(pairs) :])


def _baselines(found: Mapping[str, Scored], pairs: Sequence[Example]) -> dict[str, Sides]:
    """Length, and the features of each reward, alone and their mean."""
    chosen_N, rejected_N = (
        [float(len(counted_words(completion_text(side(p, name))))) for p in pairs] for name in SIDES
    )
    simple: dict[str, Sides] = {LENGTH: (chosen_N, rejected_N)}
    for reward, one in found.items():
        if one.features:
            mean_SN = np.mean(list(one.features.values()), axis=0)
            simple[f"{reward}, mean"] = (mean_SN[0].tolist(), mean_SN[1].tolist())
        simple |= {f"{reward}.{name}": values for name, values in one.features.items()}
    return simple


def _disagreements(one: Scored, pairs: Sequence[Example], who: Sequence[str | None]) -> list[Disagreement]:
    margin_N = [a - b for a, b in zip(one.chosen_N, one.rejected_N, strict=True)]
    wrong = sorted((i for i, margin in enumerate(margin_N) if margin < 0), key=margin_N.__getitem__)
    return [
        Disagreement(
            where=pairs[i].where,
            margin=margin_N[i],
            prompt=prompt_text(pairs[i]),
            chosen=completion_text(side(pairs[i], "chosen")),
            rejected=completion_text(side(pairs[i], "rejected")),
            annotator=who[i],
            features={name: (chosen_N[i], rejected_N[i]) for name, (chosen_N, rejected_N) in one.features.items()},
        )
        for i in wrong[:SHOWN]
    ]

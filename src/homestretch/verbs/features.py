"""A reward of named features: fitted to pairs, and measured on others beside what is simpler."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homestretch.config.features import FeaturesConfig
from homestretch.config.overrides import apply
from homestretch.config.yaml import Document, load_file
from homestretch.data.records import Example, completion_text, prompt_text, side
from homestretch.errors import DataError
from homestretch.metrics.sentences import counted_words
from homestretch.verbs.run import Overrides, as_texts
from homestretch.writing import check_writable, write_text

if TYPE_CHECKING:
    from torch import Tensor

    from homestretch.data.sources import OnBadRow
    from homestretch.ordered import CurvePoint
    from homestretch.rewards.feature_fit import Sides
    from homestretch.rewards.named import NamedReward

FIT = "fit.json"
SIDES = ("chosen", "rejected")


def fit_features(
    data: str | Path,
    *,
    out: str | Path,
    settings: str | Path | None = None,
    on_bad_row: OnBadRow = "error",
    curve: bool = False,
    overrides: Overrides = (),
) -> dict[str, Any]:
    """Fit a reward of features to the data's pairs; `out` becomes a reward, with how well it does in `fit.json`.

    `settings` is a YAML file of `FeaturesConfig`, `overrides` such as `["features.concise={low: -60}"]` stand on top.
    Columns of the data are read of either side: `chosen_features` are the `features` of the chosen answer. Measured on
    the validation split, or on a share of the prompts; beside it stand what length alone, each feature alone and their
    plain mean do. `curve`: also what fewer pairs would have given. Raises InputError.
    """
    config = features_config(settings, overrides)
    check_writable(Path(out) / FIT)
    train, validation = pairs_of(data, shares=(config.validation_fraction, 0), on_bad_row=on_bad_row)
    if not validation:
        raise DataError(f"{data}: there is nothing to measure the reward on; give pairs of three prompts at least.")

    import torch

    from homestretch.rewards.feature_fit import fitted, measured
    from homestretch.rewards.features import save_features

    chosen_NF, rejected_NF = feature_values(config, [*train, *validation])
    count = [len(train), len(validation)]
    train_values, validation_values = zip(chosen_NF.split(count), rejected_NF.split(count), strict=True)
    net, dead = fitted(config, *train_values)
    found = {
        "pairs": {"train": len(train), "validation": len(validation)},
        "dead_starts": dead,
        "train": asdict(measured(*scores(net, *train_values))),
        "validation": asdict(measured(*scores(net, *validation_values))),
        "alone": alone(config, validation, *validation_values),
        "annotators": annotators(validation, *scores(net, *validation_values)),
        "remarks": remarks(config, [*train, *validation], torch.cat([chosen_NF, rejected_NF])),
        "curve": [p.model_dump() for p in curve_of(config, train_values, validation_values)] if curve else [],
    }
    save_features(config, net, Path(out))
    write_text(Path(out) / FIT, json.dumps(found, indent=1))
    return found


def score_features(reward: str | Path, examples: Sequence[Example], texts: Sequence[str]) -> list[float]:
    """The reward of each text, from features that the examples' columns and the texts give. Raises InputError."""
    from homestretch.config.rewards import RewardTerm
    from homestretch.rewards.named import ask, load_rewards

    [named] = load_rewards({"features": RewardTerm(features=str(reward))})
    return [float(value) for value in ask(named, examples, texts, [True] * len(texts)) if value is not None]


def curve_of(config: FeaturesConfig, train: Sides, held_out: Sides) -> list[CurvePoint]:
    """The learning curve, with a bar."""
    from homestretch.progress import progress
    from homestretch.rewards.feature_fit import ORDERS, curve_sizes, learning_curve

    with progress(ORDERS * len(curve_sizes(len(train[0]))), "learning curve", "fit") as bar:
        return learning_curve(config, train, held_out, on_fit=bar.advance)


def remarks(config: FeaturesConfig, pairs: Sequence[Example], both_MF: Tensor) -> list[str]:
    """Sentences about what a fit cannot use: features that are constant, pairs that stand there in both orders."""
    low_F, high_F = both_MF.amin(0).tolist(), both_MF.amax(0).tolist()
    found = [
        f"The feature `{name}` has the same value in every text and says nothing; leave it out."
        for name, low, high in zip(sorted(config.features), low_F, high_F, strict=True)
        if low == high
    ]
    seen: dict[tuple[str, str, str], str] = {}
    contradicted = []
    for pair in pairs:
        better, worse = (completion_text(side(pair, name)) for name in SIDES)
        seen.setdefault((prompt_text(pair), better, worse), pair.where)
        if (other := seen.get((prompt_text(pair), worse, better))) is not None:
            contradicted.append(f"{pair.where} ({other})")
    if contradicted:
        found.append(
            f"Pairs that stand in the data in the other order as well: {len(contradicted)}, such as {contradicted[0]}; "
            "they cancel out: keep the order that is right."
        )
    return found


def features_config(settings: str | Path | None, overrides: Overrides) -> FeaturesConfig:
    """The settings of a file with overrides on top. Raises RecipeError."""
    document = load_file(Path(settings)) if settings is not None else Document({}, "features")
    document = apply(document, as_texts(overrides), known=list(FeaturesConfig.model_fields))
    return FeaturesConfig.parse(document.values, where=document.where)


def pairs_of(
    data: str | Path, *, shares: tuple[float, float], on_bad_row: OnBadRow
) -> tuple[list[Example], list[Example]]:
    """Pairs to fit and pairs to measure on, without a prompt in common; `shares` are those of `load`. Raises DataError,
    also where no pair says which text is better."""
    from homestretch.data.sources import load
    from homestretch.training.needs import refuse_equal

    equal: list[bool] = []

    def check(example: Example) -> None:
        if "rejected" in example.columns:
            equal.append(example.columns["rejected"] == example.completion)
            refuse_equal(example)

    try:
        splits = load(data, shares=shares, check=check, on_bad_row=on_bad_row)
    except DataError:
        if on_bad_row == "skip" and equal and all(equal):
            raise DataError(
                f"{data}: `chosen` and `rejected` are the same text in every pair ({len(equal)}), so that no label "
                "says what is better; give pairs that differ."
            ) from None
        raise
    for example in [*splits.train, *splits.validation]:
        if "rejected" not in example.columns:
            raise DataError(f"{example.where}: the row has no `rejected`; give pairs of a better and a worse text.")
    return splits.train, splits.validation


def feature_values(config: FeaturesConfig, pairs: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Scaled features (N, F) of better and of worse texts; each feature is asked once, about all of them."""
    from homestretch.rewards.features import scaled
    from homestretch.rewards.named import ask, load_features

    rewards = load_features(config.features)
    sides = [replace(side(pair, name), where=f"{pair.where}, {name}") for name in SIDES for pair in pairs]
    texts = [completion_text(e) for e in sides]
    announce(rewards, sides, texts)
    values = {reward.name: ask(reward, sides, texts, [True] * len(texts)) for reward in rewards}
    chosen_NF, rejected_NF = scaled(config, values, [e.where for e in sides]).chunk(2)
    return chosen_NF, rejected_NF


def announce(rewards: Sequence[NamedReward], examples: Sequence[Example], texts: Sequence[str]) -> None:
    """Say what asking several judges is expected to take in all, before the first starts; each says its own part."""
    from homestretch.progress import say
    from homestretch.rewards.judge import Judge

    judges = [named.reward for named in rewards if isinstance(named.reward, Judge)]
    expected = [judge.estimate([e.source for e in examples], texts) for judge in judges]
    if len(judges) > 1 and any(e.answers for e in expected):
        say(f"{len(judges)} judges: {sum(expected[1:], expected[0])}")


def scores(net: Any, chosen_NF: Tensor, rejected_NF: Tensor) -> tuple[Tensor, Tensor]:
    """The net's reward of either side (N,)."""
    import torch

    with torch.no_grad():
        return net(chosen_NF), net(rejected_NF)


def alone(config: FeaturesConfig, pairs: Sequence[Example], chosen_NF: Tensor, rejected_NF: Tensor) -> dict[str, float]:
    """Accuracy, ties counting half, of length (longer is better), of the features' mean, and of each feature."""
    import torch

    from homestretch.rewards.feature_fit import measured

    def length_N(name: str) -> Tensor:
        return torch.tensor([float(len(counted_words(completion_text(side(pair, name))))) for pair in pairs])

    found = {
        "length": measured(length_N("chosen"), length_N("rejected")).accuracy_ties_half,
        "mean": measured(chosen_NF.mean(1), rejected_NF.mean(1)).accuracy_ties_half,
    }
    for column, name in enumerate(sorted(config.features)):
        found[f"features.{name}"] = measured(chosen_NF[:, column], rejected_NF[:, column]).accuracy_ties_half
    return found


def annotators(pairs: Sequence[Example], chosen_N: Tensor, rejected_N: Tensor) -> Mapping[str, dict[str, float]]:
    """How often the reward agrees with each `annotator`, where the rows name them."""
    right = (chosen_N > rejected_N).tolist()
    by: dict[str, list[bool]] = {}
    for pair, agrees in zip(pairs, right, strict=True):
        if "annotator" in pair.columns:
            by.setdefault(str(pair.columns["annotator"]), []).append(agrees)
    return {name: {"n": len(given), "agreement": sum(given) / len(given)} for name, given in sorted(by.items())}

"""A net on stored quality scores against human preferences of opinion summaries (OpinPref).

    python experiments/domain_reward/opinpref.py --data ../shared/data [--quick]

Official split with several seeds, random splits, a curve over the number of pairs, starts that end constant with and
without an activation behind the output, and what is simpler: length, the plain mean, single scores, and a net on three
qualities that words alone tell (`local.py` has all seven). The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from prepare import prepared
from torch import Tensor

from homestretch.config.features import FeaturesConfig
from homestretch.data.records import Example, completion_text, side
from homestretch.errors import DataError
from homestretch.metrics.sentences import words
from homestretch.rewards.feature_fit import fitted, measured
from homestretch.verbs.features import alone, feature_values, features_config, pairs_of, scores

SETTINGS, WORDS = (Path(__file__).parent / name for name in ("stored.yaml", "words.yaml"))
LONGEST = 200.0
Sides = tuple[Tensor, Tensor]


def outcome(config: FeaturesConfig, train: Sides, held_out: Sides) -> dict[str, float]:
    """Accuracy (ties wrong), negative log-likelihood, and starts that ended constant."""
    try:
        net, dead = fitted(config, *train)
    except DataError:  # every start ended constant
        return {"accuracy": 0.0, "nll": float("nan"), "dead": float(config.restarts)}
    fit = measured(*scores(net, *held_out))
    return {"accuracy": fit.accuracy, "nll": fit.nll, "dead": float(dead)}


def summary(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means, and the standard deviation of the accuracy."""
    accuracy = [run["accuracy"] for run in runs]
    spread = statistics.stdev(accuracy) if len(accuracy) > 1 else 0.0
    nll = statistics.fmean(run["nll"] for run in runs)
    return {"accuracy": statistics.fmean(accuracy), "sd": spread, "nll": nll, "dead": sum(run["dead"] for run in runs)}


def with_length(pairs: Sequence[Example], values: Sides) -> Sides:
    """The features and the number of words as one more, words over 200 as 200."""

    def of(name: str, scaled_NF: Tensor) -> Tensor:
        counts = [min(len(words(completion_text(side(pair, name)))) / LONGEST, 1.0) for pair in pairs]
        return torch.cat([scaled_NF, torch.tensor(counts)[:, None]], dim=1)

    return of("chosen", values[0]), of("rejected", values[1])


def rows(values: Sides, index: Tensor) -> Sides:
    """Some pairs."""
    return values[0][index], values[1][index]


def changed(config: FeaturesConfig, **settings: Any) -> FeaturesConfig:
    """The settings with others in their place."""
    return config.model_copy(update=settings)


def main() -> None:
    """Fit, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with opinpref/")
    parser.add_argument("--out", type=Path, default=Path("runs/domain_reward"))
    parser.add_argument("--quick", action="store_true", help="under a minute")
    args = parser.parse_args()
    seeds, splits, sizes = (1, 1, [100]) if args.quick else (10, 20, [25, 50, 100, 200, 400, 800])
    config = features_config(SETTINGS, [])
    train_pairs, held_pairs = pairs_of(
        prepared(args.data, args.out / "data"), shares=(config.validation_fraction, 0), on_bad_row="error"
    )
    train, held = feature_values(config, train_pairs), feature_values(config, held_pairs)
    both = tuple(torch.cat(sides) for sides in zip(train, held, strict=True))
    found: dict[str, Any] = {
        "official": summary([outcome(changed(config, seed=s), train, held) for s in range(seeds)]),
        "linear": summary([outcome(changed(config, seed=s, hidden_sizes=[]), train, held) for s in range(seeds)]),
        "relu_output_dead_seeds": sum(
            outcome(changed(config, seed=s, output_activation="relu", restarts=1), train, held)["dead"]
            for s in range(seeds)
        ),
        "alone": alone(config, held_pairs, *held),
    }
    by_words = features_config(WORDS, [])
    said = feature_values(by_words, train_pairs), feature_values(by_words, held_pairs)
    found["words"] = summary([outcome(changed(by_words, seed=s), *said) for s in range(seeds)])
    long_train, long_held = with_length(train_pairs, train), with_length(held_pairs, held)
    one_more = changed(config, features=config.features | {"words": config.features["relevance"]})
    runs, longer = [], []
    long_both = tuple(torch.cat(sides) for sides in zip(long_train, long_held, strict=True))
    for split in range(splits):
        order = torch.randperm(len(both[0]), generator=torch.Generator().manual_seed(split))
        cut = len(order) * 4 // 5
        seeded = {"seed": split}
        runs.append(outcome(changed(config, **seeded), rows(both, order[:cut]), rows(both, order[cut:])))
        longer.append(outcome(changed(one_more, **seeded), rows(long_both, order[:cut]), rows(long_both, order[cut:])))
    found |= {"random_splits": summary(runs), "random_splits_with_length": summary(longer)}
    found["curve"] = {}
    for size in sizes:
        drawn = [torch.randperm(len(train[0]), generator=torch.Generator().manual_seed(s))[:size] for s in range(seeds)]
        fits = [outcome(changed(config, seed=s), rows(train, index), held) for s, index in enumerate(drawn)]
        found["curve"][str(size)] = summary(fits)
    line = {"name": "opinpref", "accuracy": found["official"]["accuracy"], "nll": found["official"]["nll"]}
    line |= {"dead_seeds": found["official"]["dead"], "length": found["alone"]["length"]}
    line |= {"local": found["words"]["accuracy"], "seeds": seeds}
    print(json.dumps(line | found))


if __name__ == "__main__":
    main()

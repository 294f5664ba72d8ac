"""Extractors without a judge against human preferences (OpinPref) and human ratings (SummEval-OP).

    python experiments/domain_reward/local.py --data ../shared/data [--pairs 200] [--quick]

A net on them beside one on the stored scores, both also with length removed, and beside length alone; the correlation
of each with the stored score of its name; on SummEval-OP rank correlations with the seven human dimensions, over the
summaries of each product and over systems; and how many summaries a second each takes. Nothing is chosen here: nets
have their default settings, and removing length is fitted to training texts. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from opinpref import LONGEST, SETTINGS, Sides, changed, outcome, rows, summary
from prepare import prepared
from scipy.stats import spearmanr
from torch import Tensor

from homestretch.config.features import FeaturesConfig
from homestretch.config.rewards import RewardTerm
from homestretch.data.records import Example, completion_text, side
from homestretch.metrics.sentences import words
from homestretch.rewards.feature_fit import measured
from homestretch.rewards.features import scaled
from homestretch.rewards.local import extractor
from homestretch.rewards.named import load_rewards
from homestretch.verbs.features import feature_values, features_config, pairs_of

LOCAL = Path(__file__).parent / "local.yaml"
TIMED = 24
Place = tuple[int, str]
"""A product and a system."""


def word_counts(pairs: Sequence[Example]) -> Sides:
    """Words of either side, (N, 1) each, as a share of 200 and no more."""

    def of(name: str) -> Tensor:
        counts = [min(len(words(completion_text(side(pair, name)))) / LONGEST, 1.0) for pair in pairs]
        return torch.tensor(counts)[:, None]

    return of("chosen"), of("rejected")


def without_length(values: Sides, lengths: Sides, train: slice) -> Sides:
    """What of each feature a straight line of length does not tell, the line being fitted to training texts."""
    design = torch.cat([side_N1[train] for side_N1 in lengths])
    design_M2 = torch.cat([design, torch.ones_like(design)], dim=1)
    target_MF = torch.cat([side_NF[train] for side_NF in values])
    line_2F = torch.linalg.lstsq(design_M2, target_MF).solution

    def left(side_NF: Tensor, length_N1: Tensor) -> Tensor:
        return side_NF - torch.cat([length_N1, torch.ones_like(length_N1)], dim=1) @ line_2F

    return left(values[0], lengths[0]), left(values[1], lengths[1])


def together(*parts: Sides) -> Sides:
    """All features of several sets."""
    return torch.cat([p[0] for p in parts], 1), torch.cat([p[1] for p in parts], 1)


def nets(
    config: FeaturesConfig, values: Sides, train: slice, held: slice, *, seeds: int, splits: int
) -> dict[str, Any]:
    """Nets on the official split, over seeds, and on random splits of 4 to 1."""
    named = {f"f{i}": next(iter(config.features.values())) for i in range(values[0].shape[1])}
    config = changed(config, features=named)
    official = [
        outcome(changed(config, seed=s), (values[0][train], values[1][train]), (values[0][held], values[1][held]))
        for s in range(seeds)
    ]
    drawn = []
    for split in range(splits):
        order = torch.randperm(len(values[0]), generator=torch.Generator().manual_seed(split))
        cut = len(order) * 4 // 5
        drawn.append(outcome(changed(config, seed=split), rows(values, order[:cut]), rows(values, order[cut:])))
    return {"official": summary(official), "random_splits": summary(drawn)}


def correlations(names: Sequence[str], ours: Sides, stored: Sides) -> dict[str, dict[str, float]]:
    """Pearson's and Spearman's correlation of each feature with the stored score of its name, over all texts."""
    a_MF, b_MF = torch.cat(ours).numpy(), torch.cat(stored).numpy()
    return {
        name: {
            "pearson": float(np.corrcoef(a_MF[:, i], b_MF[:, i])[0, 1]),
            "spearman": float(spearmanr(a_MF[:, i], b_MF[:, i]).statistic),
        }
        for i, name in enumerate(names)
    }


def rated(file: Path, products: int | None) -> tuple[list[str], list[str], list[Place], dict[str, np.ndarray]]:
    """Documents, texts, (product, system) and human ratings by dimension, an entry for each summary."""
    documents, texts, places = [], [], []
    ratings: dict[str, list[float]] = {}
    for product, line in enumerate(file.read_text(encoding="utf-8").splitlines()[:products]):
        row = json.loads(line)
        for system, given in sorted(row["summaries"].items()):
            documents.append("\n".join(row["reviews"].values()))
            texts.append(given["summary"])
            places.append((product, system))
            for dimension, value in given["dimensions"].items():
                ratings.setdefault(dimension, []).append(value)
    return documents, texts, places, {name: np.array(values) for name, values in ratings.items()}


def rank_correlation(value_N: np.ndarray, rating_N: np.ndarray, places: Sequence[Place]) -> dict[str, float]:
    """Spearman's correlation over the summaries of a product, mean over products that have one, and over systems."""
    product_N, system_N = (np.array(part) for part in zip(*places, strict=True))
    inside = []
    for product in np.unique(product_N):
        at = product_N == product
        if np.ptp(value_N[at]) > 0 and np.ptp(rating_N[at]) > 0:
            inside.append(spearmanr(value_N[at], rating_N[at]).statistic)
    systems = np.unique(system_N)
    means = [[x_N[system_N == s].mean() for s in systems] for x_N in (value_N, rating_N)]
    return {"summary": float(np.mean(inside)), "system": float(spearmanr(*means).statistic)}


def local_values(config: FeaturesConfig, documents: Sequence[str], texts: Sequence[str]) -> Tensor:
    """Features (N, F) of texts."""
    where = [f"summary {i}" for i in range(len(texts))]
    values = {r.name: r(where, texts, document=documents) for r in load_rewards(config.features)}
    return scaled(config, values, where)


def speed(term: RewardTerm, pairs: Sequence[tuple[str, str]]) -> float:
    """Summaries a second of processor time, models loaded before and nothing remembered; each has its own document."""
    assert term.local is not None
    ask = extractor(term.local, "cpu")
    ask(["Warm."], ["Warm."])
    begun = time.process_time()
    ask([d for d, _ in pairs], [t for _, t in pairs])
    return len(pairs) / (time.process_time() - begun)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with opinpref/, summeval_op/")
    parser.add_argument("--out", type=Path, default=Path("runs/domain_reward"))
    parser.add_argument("--pairs", type=int, help="training pairs, the first ones; all by default")
    parser.add_argument("--leave-out", nargs="*", default=[], metavar="FEATURE", help="features not to compute")
    parser.add_argument("--quick", action="store_true", help="a few pairs and products; the numbers say nothing")
    args = parser.parse_args()
    seeds, splits, cut, products = (1, 1, 24, 4) if args.quick else (3, 5, args.pairs, None)

    ours, theirs = features_config(LOCAL, []), features_config(SETTINGS, [])
    ours = changed(ours, features={name: term for name, term in ours.features.items() if name not in args.leave_out})
    names = sorted(ours.features)
    beside = [sorted(theirs.features).index(name) for name in names]
    train_pairs, held_pairs = pairs_of(
        prepared(args.data, args.out / "data"), shares=(ours.validation_fraction, 0), on_bad_row="error"
    )
    train_pairs, held_pairs = train_pairs[:cut], held_pairs[: 24 if args.quick else None]
    pairs = [*train_pairs, *held_pairs]
    train, held = slice(len(train_pairs)), slice(len(train_pairs), None)
    fresh = [(pair.source, completion_text(pair)) for pair in train_pairs[:TIMED]]
    pace = {name: speed(term, fresh) for name, term in ours.features.items()}

    local, stored, lengths = feature_values(ours, pairs), feature_values(theirs, pairs), word_counts(pairs)
    sets = {
        "local": local,
        "local_without_length": without_length(local, lengths, train),
        "stored": stored,
        "stored_without_length": without_length(stored, lengths, train),
        "length": lengths,
        "local_and_length": together(local, lengths),
        "local_and_stored": together(local, stored),
    }
    found: dict[str, Any] = {
        "nets": {name: nets(ours, values, train, held, seeds=seeds, splits=splits) for name, values in sets.items()},
        "alone": {
            name: measured(local[0][held, i], local[1][held, i]).accuracy_ties_half for i, name in enumerate(names)
        },
        "longer_is_better": measured(lengths[0][held, 0], lengths[1][held, 0]).accuracy_ties_half,
        "with_stored": correlations(names, local, (stored[0][:, beside], stored[1][:, beside])),
        "summaries_per_second": pace,
    }

    documents, texts, places, ratings = rated(args.data / "summeval_op" / "summeval-op.jsonl", products)
    value_NF = local_values(ours, documents, texts).numpy()
    columns = {name: value_NF[:, i] for i, name in enumerate(names)}
    columns |= {"mean": value_NF.mean(1), "words": np.array([float(len(words(text))) for text in texts])}
    found["summeval_op"] = {
        name: {dimension: rank_correlation(value_N, rating_N, places) for dimension, rating_N in ratings.items()}
        for name, value_N in columns.items()
    }
    accuracy = {name: net["official"]["accuracy"] for name, net in found["nets"].items()}
    line = {"name": "local", "accuracy": accuracy, "train": len(train_pairs), "summaries": len(texts)}
    print(json.dumps(line | found))


if __name__ == "__main__":
    main()

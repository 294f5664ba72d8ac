"""Nets on quality scores beside reward models that read the text, fitted to the same pairs (OpinPref).

    python experiments/domain_reward/text.py --data ../shared/data [--small | --quick]

`classifier` and `pairwise` are SmolLM2-135M with LoRA and a scalar head, which read reviews and summary; `stored` is a
net on the scores that a language model gave, `words` one on qualities that words alone tell. All are given the same
training pairs, of which a reward model keeps some for choosing its checkpoint, and are measured on the official
validation pairs by `homestretch.compare_rewards`. `--small` takes fewer pairs, and lets reward models see the first
words of the reviews only: a budget for one CPU core. The page of the first seed is `--out/BUDGET/0.html`; the last line
is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prepare import SPLITS, prepared

from homestretch import Ordered, compare_rewards, fit_features, fit_reward
from homestretch.ordered import LENGTH
from homestretch.verbs.reward import reward_folder
from homestretch.writing import write_rows

HERE = Path(__file__).parent
NETS = ("stored", "words")
KINDS = ("classifier", "pairwise")
BUDGETS: dict[str, dict[str, Any]] = {
    "full": {"train": None, "validation": None, "words": None, "seeds": [0, 1, 2], "reward": {}},
    "small": {"train": 160, "validation": None, "words": 60, "seeds": [0], "reward": {"train_batch_size": 8}},
    "quick": {"train": 24, "validation": 12, "words": 20, "seeds": [0], "reward": {"max_steps": 1}},
}
"""Pairs of either split and words of the reviews in the prompt (None is all), and settings of the reward models."""
LONGEST = {"dataset.max_prompt_length": 4096, "dataset.max_completion_length": 512, "dataset.truncate": True}


def shortened(row: dict[str, Any], words: int | None) -> dict[str, Any]:
    """The row with the first words of its reviews as the prompt; features go on reading all of them."""
    prompt = row["prompt"] if words is None else " ".join(row["prompt"].split()[:words])
    return row | {"prompt": prompt, "document": row["prompt"]}


def pairs_in(source: Path, out: Path, budget: dict[str, Any]) -> Path:
    """The first pairs of either split of `source` in `out`. A last training pair becomes the test split: a run wants
    one, and would cut a tenth of the training pairs off."""
    for split in SPLITS:
        lines = (source / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()[: budget[split]]
        rows = [shortened(json.loads(line), budget["words"]) for line in lines]
        if split == "train":
            write_rows(out / "test.jsonl", rows[-1:])
            rows = rows[:-1]
        write_rows(out / f"{split}.jsonl", rows)
    return out


def one_seed(data: Path, out: Path, budget: dict[str, Any], seed: int) -> Ordered:
    """Fit everything with one seed, and measure it on the validation pairs."""
    places: dict[str, Path] = {}
    for name in NETS:
        places[name] = out / str(seed) / name
        fit_features(data, out=places[name], settings=HERE / f"{name}.yaml", overrides=[f"seed={seed}"])
    for kind in KINDS:
        settings = {**LONGEST, "seed": seed, "reward.kind": kind}
        settings |= {f"reward.{key}": value for key, value in budget["reward"].items()}
        run = fit_reward(data, out=out / str(seed) / kind, overrides=settings)
        places[kind] = reward_folder(run.path)
    return compare_rewards(data, places, report=out / f"{seed}.html")


def pooled(records: Sequence[Ordered]) -> dict[str, Any]:
    """Accuracy of each reward and of length: of each seed, mean and standard deviation; likelihood; and each seed's
    differences with their intervals."""
    found: dict[str, Any] = {}
    for name in [*records[0].rewards, LENGTH]:
        of_seeds = [{**record.rewards, **record.baselines}[name] for record in records]
        accuracy = [one.accuracy.value for one in of_seeds]
        found[name] = {
            "accuracy": accuracy,
            "mean": statistics.fmean(accuracy),
            "sd": statistics.stdev(accuracy) if len(accuracy) > 1 else None,
            "nll": [one.nll for one in of_seeds if one.nll is not None],
            "interval": [[one.accuracy.low, one.accuracy.high] for one in of_seeds],
        }
    return {"rewards": found, "differences": [[c.model_dump() for c in record.comparisons] for record in records]}


def main() -> None:
    """Fit, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with opinpref/")
    parser.add_argument("--out", type=Path, default=Path("runs/domain_reward/text"))
    parser.add_argument("--seeds", type=int, nargs="+", help="0 1 2, or 0 with --small and --quick")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--small", action="store_true", help="fewer pairs and words, for one CPU core")
    size.add_argument("--quick", action="store_true", help="a few pairs, to see that it works")
    args = parser.parse_args()
    name = "quick" if args.quick else "small" if args.small else "full"
    budget, out = BUDGETS[name], args.out / name
    data = pairs_in(prepared(args.data, out / "whole"), out / "data", budget)
    seeds = args.seeds or budget["seeds"]
    records = [one_seed(data, out, budget, seed) for seed in seeds]
    pairs = len((data / "train.jsonl").read_text(encoding="utf-8").splitlines())
    line = {"name": "text", "budget": name, "seeds": seeds, "pairs": pairs, "held_out": records[0].pairs}
    print(json.dumps(line | pooled(records)))


if __name__ == "__main__":
    main()

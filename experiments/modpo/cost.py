"""What a model of MODPO takes, and what PPO with the weighted sum takes to be as good, on the built-in task.

    python experiments/modpo/cost.py [--quick] [--rounds 4 8 16] [--seeds 0]

Both methods start at the same fine-tuned model, with the same reward model and half of the weight on either
objective, at the small budget of `docstrings.py`; PPO is trained once for each number of rounds. Quality is the
weighted sum of both rewards, each divided by its standard deviation over samples of the start, of greedy outputs for
the test prompts. Seconds are those of the method's own stage, so nothing else should run meanwhile. Runs lie in
`--out/BUDGET` and go on where they were killed. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from docstrings import BUDGETS, OBJECTIVES, RECIPES
from families import tiny_model

from homestretch import compare as compare_recipes
from homestretch.compared import ComparisonFolder
from homestretch.config.front import at_weights, evaluation_of
from homestretch.config.methods import loaded
from homestretch.config.recipe import Recipe
from homestretch.config.shipped import find_recipe
from homestretch.evaluate import read_rows
from homestretch.metrics.base import Column
from homestretch.metrics.compare import Table, compare, measure
from homestretch.report.table import markdown
from homestretch.results import Measured

NAMES = [key.removeprefix("rewards/") for key in OBJECTIVES]
WEIGHT = 0.5


def methods_of(settings: Sequence[str], rounds: Sequence[int]) -> dict[str, Recipe]:
    """MODPO, and PPO for each number of rounds."""

    sources = {family: find_recipe(name) for family, name in RECIPES.items()}

    def halved(family: str, more: Sequence[str] = ()) -> Recipe:
        return at_weights(loaded(sources, [*settings, *more])[family], [WEIGHT, 1.0])[f"w{WEIGHT:g}"]

    return {"modpo": halved("modpo")} | {f"morlhf-{n}": halved("morlhf", [f"ppo.max_steps={n}"]) for n in rounds}


def sums(folder: ComparisonFolder, method: str, seeds: Sequence[int]) -> Table:
    """The weighted sum of each greedy output of a method, by prompt."""
    prompts, found = [], []
    for seed in seeds:
        start = [row for row in read_rows(folder.run("ml", seed).generations) if row["arm"].endswith("_raw@t1")]
        deviation = [np.std([row["rewards"][name] for row in start]) for name in NAMES]
        for row in read_rows(folder.run(method, seed).generations):
            if row["arm"].endswith("_raw"):
                parts = [row["rewards"][name] / scale for name, scale in zip(NAMES, deviation, strict=True)]
                prompts.append(row["id"])
                found.append(WEIGHT * parts[0] + (1 - WEIGHT) * parts[1])
    return Table.of(prompts, {"reward": Column.of_scores(found)})


def row_of(quality: Measured, beyond: Sequence[float] | None, seconds: float | None, ratio: float | None) -> list[str]:
    """A line of the table."""
    difference = f"{beyond[0]:+.2f} [{beyond[1]:+.2f}, {beyond[2]:+.2f}]" if beyond else ""
    cost = [f"{seconds:.0f}" if seconds is not None else "", f"{ratio:.1f}" if ratio is not None else ""]
    return [f"{quality.value:.2f} [{quality.low:.2f}, {quality.high:.2f}]", difference, *cost]


def main() -> None:
    """Train, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/modpo/cost"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rounds", type=int, nargs="+", help="4 8 16 unless --quick, which has 1 2")
    parser.add_argument("--quick", action="store_true", help="a random model of two layers: it runs, it learns nothing")
    args = parser.parse_args()
    out = args.out / ("quick" if args.quick else "small")
    settings = list(BUDGETS["quick" if args.quick else "small"])
    if args.quick:
        settings.append(f"model_name_or_path={tiny_model(out / 'tiny')}")
    methods = methods_of(settings, args.rounds or ([1, 2] if args.quick else [4, 8, 16]))
    folder = out / "runs"
    record = compare_recipes(methods, out=folder, seeds=args.seeds, overrides=evaluation_of(list(methods.values())))
    tables = {name: sums(ComparisonFolder(folder), name, args.seeds) for name in ["ml", *methods]}
    own = {name: record.methods[name].own for name in methods}
    seconds = {name: cost.seconds for name, cost in own.items() if cost is not None}
    found: dict[str, Any] = {}
    rows = [["model", "quality", "beyond modpo", "seconds", "times modpo"]]
    for name, table in tables.items():
        quality = measure(table, seed=0)["reward"]
        beyond = None if name == "modpo" else list(compare(table, tables["modpo"], seed=0)["reward"][:3])
        ratio = seconds[name] / seconds["modpo"] if name in seconds else None
        rows.append([name, *row_of(quality, beyond, seconds.get(name), ratio)])
        found[name] = {"quality": quality.model_dump(), "beyond_modpo": beyond, "seconds": seconds.get(name)}
    print(markdown(rows))
    print(json.dumps({"name": "modpo_cost", "quick": args.quick, "seeds": args.seeds, "models": found}))


if __name__ == "__main__":
    main()

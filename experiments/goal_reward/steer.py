"""Does steering lead where it should? Walks that a goal model leads to their good end, or to an early one.

    python experiments/goal_reward/steer.py [--seeds 0 1 2 3 4] [--quick]

A small Llama learns to write the walks of `walk.py`, half of which succeed. A goal model that was fitted to pairs of
walks reads along and weighs each next step (`homestretch generate --steer`): towards `success`, away from it, towards
`short`, which is the mean state of walks of six steps at most, whatever their end, or towards both. A rule says what
became of a walk. Reported for each weight are the shares of walks that succeed, that are short, and that are whole,
which means that they end at 0 or 8 and not before or after. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from letters import written
from walk import LONGEST, TOP, VARIANTS, fitted, walks

from homestretch import generate, load_recipe
from homestretch.training.pipeline import run_recipe
from homestretch.verbs.goal import make_goal

SHORT = 6
STEERS: tuple[dict[str, float], ...] = (
    {},
    {"success": 1},
    {"success": 4},
    {"success": 16},
    {"success": -4},
    {"short": 4},
    {"short": 16},
    {"success": 4, "short": 4},
)
"""Goals with their weights, in nats for a cosine of 1."""


def end_of(steps: str, *, ended: bool) -> str:
    """`success` or `failure` where a walk ends by itself as soon as it is at 8 or at 0, `broken` otherwise."""
    place = TOP // 2
    for number, step in enumerate(steps, 1):
        place += 1 if step == "u" else -1
        if place in (0, TOP):
            whole = ended and number == len(steps)
            return "broken" if not whole else "success" if place else "failure"
    return "broken"


def writer(root: Path, start: Path, *, seed: int, count: int, steps: int) -> str:
    """A model that has learnt to write walks of either end."""
    rows = [{"prompt": f"{i}>", "completion": walk} for i, (walk, _) in enumerate(walks(count, 20_000 + seed))]
    sft = {"use_peft": False, "learning_rate": 1e-3, "max_steps": steps, "train_batch_size": 64, "eval_examples": 8}
    recipe = {
        "model_name_or_path": str(start),
        "seed": seed,
        "dataset": {"name": str(written(root / "walks_to_learn.jsonl", rows)), "max_completion_length": LONGEST + 1},
        "stages": [{"sft": sft | {"eval_steps": steps, "metric_for_best_model": "none"}}],
    }
    return str(run_recipe(load_recipe(recipe), root / "writer").path / "model")


def led(model: str, prompts: Path, goal_model: Path, steer: dict[str, float], seed: int) -> dict[str, float]:
    """Shares of the walks that are sampled while they are led."""
    how: dict[str, Any] = {"goal_model": str(goal_model), "steer": steer} if steer else {}
    made = generate(model, prompts, seed=seed, temperature=1.0, num_samples=4, max_new_tokens=LONGEST + 1, **how)
    ends = [end_of(row["text"], ended=row["terminated"]) for row in made]
    whole = [row for row, end in zip(made, ends, strict=True) if end != "broken"]
    return {
        "success": ends.count("success") / len(ends),
        "short": sum(len(row["text"]) <= SHORT for row in whole) / len(ends),
        "whole": len(whole) / len(ends),
        "steps": statistics.fmean(len(row["text"]) for row in made),
    }


def mean_of(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean over seeds."""
    return {key: statistics.fmean(row[key] for row in rows) for key in rows[0]}


def main() -> None:
    """Fit, lead and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, default=Path("runs/goal_walk"), help="of walk.py, whose models are taken")
    parser.add_argument("--quick", action="store_true", help="under a minute, too little to learn anything")
    args = parser.parse_args()
    budget = {"count": 200, "steps": 30} if args.quick else {"count": 1500, "steps": 400}
    seeds, walkers = (args.seeds[:1], 8) if args.quick else (args.seeds, 100)
    runs: dict[str, list[list[dict[str, float]]]] = {name: [] for name in VARIANTS}
    for seed in seeds:
        root = args.out / ("quick" if args.quick else "full") / str(seed)
        short = [
            {"prompt": "0>", "completion": steps} for steps, _ in walks(1000, 30_000 + seed) if len(steps) <= SHORT
        ]
        for name, found in runs.items():
            goal_model = fitted(root, name, seed=seed, **budget)
            make_goal(goal_model, written(root / "short.jsonl", short), name="short")
            model = writer(root, root / "model", seed=seed, **budget)
            prompts = written(root / "prompts.jsonl", [{"prompt": f"{i}>"} for i in range(walkers)])
            found.append([led(model, prompts, goal_model, steer, seed) for steer in STEERS])
    means = {name: [mean_of(rows) for rows in zip(*found, strict=True)] for name, found in runs.items()}
    print(json.dumps({"name": "goal_steer", "seeds": seeds, "steers": STEERS, "means": means, "runs": runs}))


if __name__ == "__main__":
    main()

"""Does Q say how likely success is? Walks whose chance of success is known behind every step.

    python experiments/goal_reward/walk.py [--seeds 0 1 2 3 4] [--quick]

A walk starts in the middle of 0..8 and goes up or down with equal chance until it reaches 8, which is success, or 0;
behind a step at place i its chance of success is i / 8. The model reads only the steps, so that it has to add them up.
Pairs are a walk that succeeds and one that fails. Reported are Spearman's correlation of Q (and of the reward) with
the chance behind every step of unseen walks, and the chance in bins of Q. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from pathlib import Path
from typing import Any

from letters import model_of_letters, written
from scipy.stats import spearmanr

from homestretch import fit_reward
from homestretch.metrics.partial import reliability
from homestretch.verbs.goal import make_goal, token_values

TOP, LONGEST = 8, 60
VARIANTS: dict[str, list[str]] = {"plain": [], "contrast": ["reward.contrast.weight=0.5"]}


def walk(draw: random.Random) -> tuple[str, list[float]]:
    """Steps, and the chance of success behind each of them."""
    place, steps, chances = TOP // 2, "", []
    while 0 < place < TOP and len(steps) < LONGEST:
        up = draw.random() < 0.5
        place, steps = place + (1 if up else -1), steps + ("u" if up else "d")
        chances.append(place / TOP)
    return steps, chances


def walks(count: int, seed: int) -> list[tuple[str, list[float]]]:
    """Walks that have come to an end."""
    draw, found = random.Random(seed), []
    while len(found) < count:
        steps, chances = walk(draw)
        if chances[-1] in (0.0, 1.0):
            found.append((steps, chances))
    return found


def pairs(count: int, seed: int) -> list[dict[str, str]]:
    """Walks that succeed beside walks that fail; every prompt has a number of its own, which the model cannot read."""
    made = walks(4 * count, seed)
    good = [steps for steps, chances in made if chances[-1] == 1.0][:count]
    bad = [steps for steps, chances in made if chances[-1] == 0.0][:count]
    both = enumerate(zip(good, bad, strict=True))
    return [{"prompt": f"{i}>", "chosen": g, "rejected": b} for i, (g, b) in both]


def fitted(root: Path, name: str, *, seed: int, count: int, steps: int) -> Path:
    """The run of a reward model on pairs of walks, with the goal `success`; its start and its pairs lie beside it."""
    file = written(root / "pairs.jsonl", pairs(count, seed))
    model = model_of_letters(root / "model", ">ud", seed=seed, width=64, layers=2)
    settings = [
        f"seed={seed}",
        "reward.kind=pairwise",
        "reward.use_peft=false",
        "reward.learning_rate=1e-3",
        f"reward.max_steps={steps}",
        "reward.train_batch_size=32",
    ]
    run = fit_reward(file, model=model, out=root / name, overrides=[*settings, *VARIANTS[name]]).path
    if name == "plain":
        make_goal(run, file)
    return run


def measured(run: Path, out: Path, test: list[tuple[str, list[float]]]) -> dict[str, Any]:
    """How Q and the reward go with the chance of success, behind every step but the last, which shows the end."""
    file = written(out / "walks.jsonl", [{"prompt": "0>", "completion": steps} for steps, _ in test])
    rows = token_values(run, file)
    before = [len(steps) - 1 for steps, _ in test]
    chance = [c for (_, chances), n in zip(test, before, strict=True) for c in chances[:n]]
    found: dict[str, Any] = {}
    for name in ("q", "rewards"):
        value = [v for row, n in zip(rows, before, strict=True) for v in row[name][:n]]
        found[name] = float(spearmanr(value, chance).statistic)
        found[f"{name}_bins"] = [[b.value, b.good] for b in reliability(value, chance, bins=8)]
    return found


def main() -> None:
    """Fit, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, default=Path("runs/goal_walk"))
    parser.add_argument("--quick", action="store_true", help="under a minute")
    args = parser.parse_args()
    seeds, count, steps = (args.seeds[:1], 200, 30) if args.quick else (args.seeds, 1500, 400)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in VARIANTS}
    for seed in seeds:
        root = args.out / ("quick" if args.quick else "full") / str(seed)
        test = walks(300, 10_000 + seed)
        for name, found in runs.items():
            run = fitted(root, name, seed=seed, count=count, steps=steps)
            found.append(measured(run, root, test))
    means = {name: statistics.fmean(run["q"] for run in found) for name, found in runs.items()}
    line = {"name": "goal_walk", "seeds": seeds, "spearman_q": means}
    line["spearman_reward"] = {n: statistics.fmean(run["rewards"] for run in found) for n, found in runs.items()}
    print(json.dumps(line | {"runs": runs}))


if __name__ == "__main__":
    main()

"""Last-mile RL on one task: the whole pipeline for several seeds, pooled over prompts, and its ablations.

    python experiments/last_mile/run.py --task quickstart --seeds 0 1 2
    python experiments/last_mile/run.py --task scitldr --variant no_length --data ../shared/data --quick

Runs lie in `--out/TASK/VARIANT/SEED` and go on where they were killed. A variant takes every stage over from `full`
that it has in common with it, and is decoded greedily only. `--small` is a budget that one CPU core manages in
about ten minutes a seed. The last line is one JSON object; `table.py` makes RESULTS.md out of such lines.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from prepare import FEW_WORDS, MAX_WORDS, prepared

from homestretch import NegativesConfig, RunFolder, load_recipe
from homestretch.config.recipe import Recipe, dump
from homestretch.config.shipped import find_recipe
from homestretch.evaluate import DEFAULT_COMPARISONS, evaluate_rows, read_rows
from homestretch.metrics.scorers import available_scorers
from homestretch.training.pipeline import run_recipe

FULL = "full"
TASKS = ("quickstart", "scitldr", "webnlg")
CLASSES = tuple(name for name in NegativesConfig().classes if name != NegativesConfig().held_out)
VARIANTS: dict[str, list[str]] = {
    FULL: [],
    "no_length": ["ppo.length_penalty=none"],
    "deviation": ["ppo.length_penalty=deviation"],
    "nearer": ["ppo.length_penalty=deviation", "ppo.temperature=0.85"],
    "near_mode": ["ppo.length_penalty=deviation", "ppo.temperature=0.7"],
    "near_mode_rules": ["ppo.length_penalty=deviation", "ppo.temperature=0.7", "ppo.rewards.rules=3"],
    "no_kl": ["ppo.kl=off"],
    "r2": ["ppo.lookahead_k=4"],
    "no_overlap": ["ppo.rewards.overlap=0"],
    "no_model": ["ppo.rewards.model=0"],
    "pairwise": ["reward.kind=pairwise"],
    **{f"without_{name}": [] for name in CLASSES},
}
QUICK = [
    "dataset.max_train=64", "dataset.max_validation=16", "dataset.max_test=24", "sft.max_steps=8", "reward.max_steps=6",
    "ppo.max_steps=2", "ppo.rollout_batch_size=16", "negatives.mined.max_prompts=16",
]  # fmt: skip
SMALL = {
    "quickstart": [
        "dataset.max_train=240", "dataset.max_validation=48", "dataset.max_test=200", "sft.max_steps=15",
        "sft.eval_steps=15", "sft.eval_examples=48", "negatives.classes_per_example=4",
        "negatives.mined.max_prompts=120", "negatives.mined.num_samples=2", "ppo.max_steps=6", "ppo.eval_examples=48",
        "ppo.rollout_batch_size=64", "ppo.train_batch_size=32", "evaluate.sampled=false",
    ],
    "webnlg": [
        "dataset.max_train=240", "dataset.max_validation=32", "dataset.max_test=120", "sft.max_steps=24",
        "sft.eval_steps=24", "sft.eval_examples=32", "negatives.classes_per_example=3",
        "negatives.mined.max_prompts=64", "negatives.mined.num_samples=2", "ppo.max_steps=4", "ppo.eval_steps=2",
        "ppo.eval_examples=32", "ppo.rollout_batch_size=64", "ppo.train_batch_size=32", "ppo.value_warmup_steps=1",
    ],
    "scitldr": [
        "dataset.max_train=160", "dataset.max_validation=24", "dataset.max_test=100", "dataset.max_prompt_length=224",
        "dataset.max_completion_length=40", "sft.max_steps=20", "sft.eval_steps=20", "sft.eval_examples=24",
        "negatives.classes_per_example=3", "negatives.mined.max_prompts=32", "negatives.mined.num_samples=2",
        "ppo.max_steps=4", "ppo.eval_steps=2", "ppo.eval_examples=24", "ppo.rollout_batch_size=64",
        "ppo.train_batch_size=32", "ppo.value_warmup_steps=1",
    ],
}  # fmt: skip


def recipe_of(task: str, variant: str, seed: int, data: Path, budget: list[str]) -> Recipe:
    """The task's shipped recipe with the variant's changes and those of a budget."""
    source = find_recipe(f"last_mile/{task}")
    overrides = [f"seed={seed}", *VARIANTS[variant], *budget]
    if variant != FULL:
        overrides.append("evaluate.sampled=false")
    if task != "quickstart":
        overrides.append(f"dataset.name={data}")
    recipe = load_recipe(source, overrides)
    if not variant.startswith("without_"):
        return recipe
    kept = [name for name in recipe.find("negatives").classes if name != variant.removeprefix("without_")]
    return load_recipe(source, [*overrides, f"negatives.classes={json.dumps(kept)}"])


def run_one(recipe: Recipe, folder: Path, shared: Path) -> RunFolder:
    """One seed of a variant, starting from the stages of `shared` if that run is there."""
    if not folder.exists() and (shared / "stages").is_dir() and shared != folder:
        shutil.copytree(shared / "stages", folder / "stages")
        (folder / "recipe.yaml").write_text(dump(recipe))
    return run_recipe(recipe, folder)


def pooled(runs: list[RunFolder], full: list[RunFolder]) -> dict[str, Any]:
    """Arms and comparisons over the prompts of all seeds; a prompt's outputs are averaged over seeds first. Those of
    the full runs after RL, where they are others, are the arm `full`."""
    rows = [row for run in runs for row in read_rows(run.generations)]
    rows += [row | {"arm": FULL} for run in full for row in read_rows(run.generations) if row["arm"] == "rl_raw"]
    pairs = [*DEFAULT_COMPARISONS, ("rl_raw", FULL)]
    scorers = available_scorers(["similarity"])
    return evaluate_rows(rows, learned=scorers, seed=0, comparisons=pairs).model_dump(mode="json")


def reward_tables(runs: list[RunFolder]) -> dict[str, Any]:
    """Each seed's reward model on its held-out pairs."""
    return {run.path.name: json.loads(run.results.read_text())["reward_model"] for run in runs}


def main() -> None:
    """Run, pool and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, default="quickstart")
    parser.add_argument("--variant", choices=VARIANTS, default="full")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with scitldr/ and webnlg/")
    parser.add_argument("--out", type=Path, default=Path("runs/last_mile"))
    parser.add_argument("--quick", action="store_true", help="a few minutes, to see that it works")
    parser.add_argument("--small", action="store_true", help="fewer rows and rounds, for a CPU")
    args = parser.parse_args()
    name, budget = ("quick", QUICK) if args.quick else ("small", SMALL[args.task]) if args.small else ("", [])
    root = args.out / name / args.task
    words = FEW_WORDS if name else MAX_WORDS
    data = args.data / args.task
    if args.task != "quickstart":
        data = prepared(data, args.out / name / "data" / args.task, max_words=words)
    runs = []
    for seed in args.seeds:
        recipe = recipe_of(args.task, args.variant, seed, data, budget)
        runs.append(run_one(recipe, root / args.variant / str(seed), root / FULL / str(seed)))
    line = {"task": f"{args.task}, {name} budget" if name else args.task, "variant": args.variant, "seeds": args.seeds}
    full = [] if args.variant == FULL else [RunFolder(root / FULL / str(seed)) for seed in args.seeds]
    line |= pooled(runs, full if all(run.generations.is_file() for run in full) else [])
    line["reward_model"] = reward_tables(runs)
    print(json.dumps(line))


if __name__ == "__main__":
    main()

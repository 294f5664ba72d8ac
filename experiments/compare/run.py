"""Every method on the built-in task from one start under one budget, by `homestretch.compare`.

    python experiments/compare/run.py --seeds 0 1 2 --out runs/compare
    python experiments/compare/run.py --seeds 0 1 2 --out runs/compare --alol    A-LoL's forms and baselines join
    python experiments/compare/run.py --quick

Fine-tuning, negatives and the reward model are those of `last_mile/quickstart` for all, and run once a seed; each
method's own stage is that of its shipped recipe and ends with the same tokens of its optimiser. `ift` has the budget
alone, since it takes the place of fine-tuning; `sft_on` goes on with maximum likelihood. Validation chooses the
checkpoint of each. Outputs are greedy; afterwards each seed's reward model scores those of all methods, for which it
is no neutral judge: `rloo`, `grpo`, `ppo` and the forms of A-LoL have learnt from it.

`--small` is a budget for a laptop, `--quick` shows in minutes that it works. The page and the numbers of the command
are `--out/comparison.html` and `.json`; the last line is one JSON object with those and the rewards, from which
`table.py` makes tables.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import homestretch
from homestretch import evaluate_rows, load_reward
from homestretch.compared import ComparisonFolder
from homestretch.config.shipped import find_recipe
from homestretch.config.yaml import load_file
from homestretch.evaluate import read_rows
from homestretch.results import RunFolder

COMMON = ("sft", "negatives", "reward")
LOOKS = ("evaluate", "report")
SHIPPED = {
    "ift": "ift/docstrings",
    "alol": "alol/docstrings",
    "dpo": "dpo/docstrings",
    "rloo": "rloo/docstrings",
    "grpo": "grpo/docstrings",
    "ppo": "last_mile/quickstart",
}
ALOL: dict[str, list[dict[str, Any]]] = {
    "wbc": [{"wbc": {}}],
    "gold": [{"gold": {}}],
    "r_lol": [{"alol": {"variant": "r_lol"}}],
    **{form: [{"value": {}}, {"alol": {"variant": form}}] for form in ("a_lol_ref_free", "a_lol_seq", "a_lol_kl")},
}
"""The other forms of A-LoL and its baselines; `alol` itself is the form `a_lol`."""

ONLINE = ("rloo", "grpo", "ppo")
JUDGED = ["reward", "distinct2", "length_ratio"]
BUDGETS: dict[str, dict[str, Any]] = {
    "": {"tokens": 120_000, "train": 480, "validation": 100, "test": 300, "mined": 320, "rollouts": 128, "looks": 100},
    "small": {"tokens": 15_000, "train": 240, "validation": 32, "test": 100, "mined": 96, "rollouts": 32, "looks": 32},
    "quick": {"tokens": 600, "train": 32, "validation": 8, "test": 8, "mined": 4, "rollouts": 8, "looks": 2},
}
"""Tokens of a method's own stage, rows, prompts that failures are mined for, samples of a round, and validation prompts
of a look."""
SHORT = {
    "small": ["sft.max_steps=15", "negatives.classes_per_example=4", "negatives.mined.num_samples=2"],
    "quick": ["sft.max_steps=2", "negatives.classes_per_example=2", "reward.max_steps=2"],
}


def recipes(names: list[str], budget: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The recipe of each method as values: what is common, then its own stages."""
    start = load_file(find_recipe("last_mile/quickstart")).values
    common = [stage for stage in start["stages"] if next(iter(stage)) in COMMON]
    return {name: start | {"stages": stages_of(name, common, budget)} for name in names}


def stages_of(name: str, common: list[dict[str, Any]], budget: dict[str, Any]) -> list[dict[str, Any]]:
    """The common stages that the method needs, and its own with as many looks at validation for all."""
    if name == "sft_on":
        own: list[dict[str, Any]] = [{"sft-2": {"learning_rate": 2e-4}}]
    elif name in ALOL:
        own = ALOL[name]
    else:
        shipped = load_file(find_recipe(SHIPPED[name])).values["stages"]
        own = [stage for stage in shipped if next(iter(stage)) not in (*COMMON, *LOOKS)]
    ((kind, settings),) = own[-1].items()
    settings = settings | {"eval_examples": budget["looks"]}
    if name in ONLINE:
        size = budget["rollouts"]
        settings |= {"rollout_batch_size": size, "train_batch_size": min(size, 64)}
    before = {"ift": 0, "sft_on": 1, "dpo": 2}.get(name, len(common))
    return [*common[:before], *own[:-1], {kind: settings}]


def overrides(name: str, budget: dict[str, Any]) -> list[str]:
    """What a budget changes for all."""
    rows = [f"dataset.max_{split}={budget[split]}" for split in ("train", "validation", "test")]
    looks = [f"sft.eval_examples={budget['looks']}"]
    return [*rows, f"negatives.mined.max_prompts={budget['mined']}", *looks, *SHORT.get(name, [])]


def reward_folder(run: RunFolder) -> Path | None:
    """The reward model that the run trained or took over."""
    return next((stage.model for stage in run.stage_folders() if stage.path.name.endswith("-reward")), None)


def judged(folder: ComparisonFolder, names: list[str], seeds: list[int]) -> dict[str, Any]:
    """Rewards of every method's outputs by its seed's reward model, diversity and length, and their differences to the
    common start. Empty where no method has a reward model."""
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        runs = {name: folder.run(name, seed) for name in names}
        model = next((found for run in runs.values() if (found := reward_folder(run))), None)
        if model is None:
            return {}
        reward = load_reward(model)
        for name, run in runs.items():
            mine = [row for row in read_rows(run.generations) if row["arm"].endswith("_raw")]
            prompts, texts = [row["prompt"] for row in mine], [row["text"] for row in mine]
            rewards = reward(prompts, texts, terminated=[row["terminated"] for row in mine])
            rows += [row | {"arm": name, "reward": r} for row, r in zip(mine, rewards, strict=True)]
    pairs = [(name, names[0]) for name in names[1:]]
    found = evaluate_rows(rows, metrics=JUDGED, comparisons=pairs, headline_metric="reward")
    return found.model_dump(mode="json", include={"arms", "comparisons"})


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", help="some of them instead of all")
    parser.add_argument("--alol", action="store_true", help="A-LoL's other forms and its baselines as well")
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("runs/compare"))
    parser.add_argument("--small", action="store_true", help="an eighth of the tokens, half of the rows")
    parser.add_argument("--quick", action="store_true", help="nearly nothing of one seed, to see that it works")
    args = parser.parse_args()
    name = "quick" if args.quick else "small" if args.small else ""
    budget, args.seeds = BUDGETS[name], args.seeds or ([0] if args.quick else [0, 1, 2])
    names = args.methods or [*SHIPPED, "sft_on", *(ALOL if args.alol else [])]
    found = homestretch.compare(
        recipes(names, budget),
        out=args.out,
        seeds=args.seeds,
        budget=f"tokens={budget['tokens']}",
        overrides=overrides(name, budget),
    )
    done = [method for method, record in found.methods.items() if record.status == "done"]
    rewards = judged(ComparisonFolder(args.out), done, args.seeds)
    print(found.advice)
    print(json.dumps({"budget": name or "as shipped", "judged": rewards} | found.model_dump(mode="json")))


if __name__ == "__main__":
    main()

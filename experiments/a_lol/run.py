"""A-LoL and its neighbours at equal optimiser tokens, from one fine-tuned reference and one value for each seed.

    python experiments/a_lol/run.py --seeds 0 1 2 --data ../shared/data
    python experiments/a_lol/run.py --side rejected --seeds 0 1 2

Every variant takes as many optimiser steps of as many responses (`dpo` half as many pairs) as the others, with their
learning rate; `nll` goes on with fine-tuning. The stages before them are run once a seed and shared. Rewards are those
that the helpful dialogues come with, rows are split by prompt, the same way for all seeds, and outputs are scored by
`scorer.py`; with `--side rejected` reference, value and variants see the worse responses only. Outputs are greedy. The
same forms with a reward model of the run's own, beside PPO, are in `experiments/compare`.

Runs lie in `--out/SIDE/SEED/VARIANT` and go on where they were killed; weights are deleted once outputs are there.
`--small` is a budget for one CPU core, `--quick` shows in two minutes that it works. The last line is one JSON object;
`table.py` makes tables out of such lines.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import shutil
import statistics
from pathlib import Path
from typing import Any

from prepare import prepared
from scorer import Scorer, fit_scorer

from homestretch import RunFolder, evaluate_rows, load_recipe
from homestretch.config.recipe import Recipe, dump
from homestretch.config.shipped import find_recipe
from homestretch.config.yaml import load_file
from homestretch.evaluate import read_rows
from homestretch.metrics.diversity import distinct_n
from homestretch.results import StageRecord
from homestretch.training.pipeline import run_recipe
from homestretch.verbs.generate import generate
from homestretch.writing import write_rows

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "nll": ("sft-2", {}),
    "wbc": ("wbc", {}),
    "gold": ("gold", {}),
    "r_lol": ("alol", {"variant": "r_lol"}),
    "a_lol": ("alol", {}),
    "a_lol_ref_free": ("alol", {"variant": "a_lol_ref_free"}),
    "a_lol_seq": ("alol", {"variant": "a_lol_seq"}),
    "a_lol_kl": ("alol", {"variant": "a_lol_kl"}),
    "dpo": ("dpo", {}),
}
OF_REWARDS = ("wbc", "gold", "r_lol")
"""Variants that read rewards themselves, not the advantages of the stage `value`."""
REFERENCE = "reference"
DISTINCT = (1, 2, 3)
COMPARED = ("reward", "distinct2", "length_ratio", "failures/any")

BUDGETS: dict[str, dict[str, Any]] = {
    "": {"batch": 16, "steps": 100, "sft": 60, "prompt": 256, "completion": 128, "train": None, "test": None},
    "small": {"batch": 8, "steps": 12, "sft": 12, "prompt": 40, "completion": 56, "train": 160, "test": 40},
    "quick": {"batch": 8, "steps": 1, "sft": 1, "prompt": 24, "completion": 16, "train": 16, "test": 4},
}
"""Responses of a batch, optimiser steps of a variant and of the reference, longest prompt and response in tokens,
training rows and test prompts."""
SCORER_ROWS = {"": 2000, "small": 200, "quick": 16}
"""Rows that the scorer is fitted to; it reads both sides."""
REJECTED_VARIANTS = ("nll", "a_lol")
"""Enough to see what a method makes of bad data."""
QUICK_VARIANTS = ("nll", "a_lol", "dpo")


def recipe_of(side: str, variant: str | None, seed: int, data: Path, budget: dict[str, Any]) -> Recipe:
    """The shipped recipe of A-LoL up to the stage `value`, and the variant's stage, if any."""
    name = "alol/hh_helpful" if side == "chosen" else f"alol/hh_helpful_{side}"
    values = copy.deepcopy(load_file(find_recipe(name)).values)
    before = values["stages"][: next(i for i, stage in enumerate(values["stages"]) if "alol" in stage)]
    values["stages"] = before + ([] if variant is None else [stage_of(variant, before, budget)])
    values["dataset"].pop("split", None)
    overrides = [f"seed={seed}", f"sft.max_steps={budget['sft']}", "sft.eval_steps=1000", "sft.eval_examples=1"]
    overrides += [f"sft.train_batch_size={budget['batch']}", f"dataset.name={data}"]
    limits = {"prompt_length": budget["prompt"], "completion_length": budget["completion"]}
    limits |= {key: budget[key] for key in ("train", "test") if budget[key]}
    return load_recipe(values, [*overrides, *(f"dataset.max_{key}={value}" for key, value in limits.items())])


def stage_of(variant: str, before: list[dict[str, Any]], budget: dict[str, Any]) -> dict[str, Any]:
    """The variant's stage: the same steps, batch and step size for all, and the last checkpoint, whatever it is."""
    name, settings = VARIANTS[variant]
    batch = budget["batch"]
    common = {"max_steps": budget["steps"], "train_batch_size": batch, "learning_rate": 2e-4, "warmup_steps": 0.0}
    common |= {"metric_for_best_model": "none", "eval_steps": 1000, "eval_examples": 1}
    if variant == "dpo":
        common["train_batch_size"] = batch // 2
    (value,) = [stage["value"] for stage in before if "value" in stage]
    rewards = {"rewards": value["rewards"]} if variant in OF_REWARDS else {}
    return {name: common | settings | rewards}


def run_one(recipe: Recipe, folder: Path, shared: Path | None) -> RunFolder:
    """A run that starts from the stages of `shared`, whose files it links to."""
    if shared is not None and not folder.exists():
        shutil.copytree(shared / "stages", folder / "stages", copy_function=os.link)
        (folder / "recipe.yaml").write_text(dump(recipe))
    return run_recipe(recipe, folder)


def outputs(run: RunFolder, arm: str, data: Path, budget: dict[str, Any], scorer: Scorer) -> list[dict[str, Any]]:
    """Greedy outputs for the test prompts with their rewards, kept beside the run."""
    file = run.path / "outputs.jsonl"
    if not file.is_file():
        dataset = load_recipe(run.recipe).dataset
        rows = generate(
            run.model,
            data,
            split="test",
            max_examples=budget["test"],
            prompt_suffix=dataset.prompt_suffix,
            max_prompt_length=dataset.max_prompt_length,
            max_new_tokens=dataset.max_completion_length,
            arm=arm,
        )
        rewards = scorer([row["prompt"] for row in rows], [row["text"] for row in rows])
        write_rows(file, [row | {"reward": reward} for row, reward in zip(rows, rewards, strict=True)])
    return read_rows(file)


def one_seed(args: argparse.Namespace, seed: int, data: Path, budget: dict[str, Any], scorer: Scorer) -> dict[str, Any]:
    """Rows of every variant, its tokens, and the share of responses that beat the reference's expectation."""
    root = args.out / args.side / str(seed)
    shared = run_one(recipe_of(args.side, None, seed, data, budget), root / REFERENCE, None)
    rows, tokens = outputs(shared, REFERENCE, data, budget, scorer), {}
    for variant in args.variants:
        folder = root / variant
        if not (folder / "outputs.jsonl").is_file():
            run_one(recipe_of(args.side, variant, seed, data, budget), folder, shared.path)
        run = RunFolder(folder)
        rows = rows + outputs(run, variant, data, budget, scorer)
        tokens[variant] = StageRecord.read(run.stage_folders()[-1].record).tokens
        for file in folder.rglob("*.safetensors"):
            file.unlink()
    (value,) = [s.path for s in shared.stage_folders() if s.path.name.endswith("-value")]
    return {"rows": rows, "tokens": tokens, "value": json.loads((value / "value.json").read_text())}


def pooled(seeds: list[dict[str, Any]], variants: list[str]) -> dict[str, Any]:
    """Arms and comparisons over the prompts of all seeds; a prompt's outputs are averaged over seeds first."""
    rows = [row for seed in seeds for row in seed["rows"]]
    pairs = [(v, other) for v in variants for other in (REFERENCE, "nll") if v != other]
    results = evaluate_rows(rows, metrics=["distinct2", "length_ratio", "reward"], comparisons=pairs)
    line = results.model_dump(mode="json", include={"arms", "comparisons"})
    line["comparisons"] = [c for c in line["comparisons"] if c["metric"] in COMPARED]
    for arm, found in line["arms"].items():
        texts = [[row["text"] for row in seed["rows"] if row["arm"] == arm] for seed in seeds]
        found["words"] = statistics.fmean(len(text.split()) for of_seed in texts for text in of_seed)
        found["distinct"] = {n: statistics.fmean(distinct_n(of_seed, n) for of_seed in texts) for n in DISTINCT}
        found["tokens"] = [seed["tokens"].get(arm) for seed in seeds]
    return line | {"value": [seed["value"] for seed in seeds]}


def main() -> None:
    """Run, pool and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", choices=("chosen", "rejected"), default="chosen", help="responses to train on")
    parser.add_argument(
        "--variants", choices=VARIANTS, nargs="+", help="all of them, if not given; two of the rejected side"
    )
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with hh_helpful/")
    parser.add_argument("--out", type=Path, default=Path("runs/a_lol"))
    parser.add_argument("--quick", action="store_true", help="two minutes, to see that it works")
    parser.add_argument("--small", action="store_true", help="few rows and steps, for one CPU core")
    args = parser.parse_args()
    name = "quick" if args.quick else "small" if args.small else ""
    budget, args.out = BUDGETS[name], args.out / name
    args.seeds = args.seeds or ([0] if args.quick else [0, 1, 2])
    there = list(VARIANTS) if args.side == "chosen" else list(REJECTED_VARIANTS)
    args.variants = args.variants or [v for v in there if not args.quick or v in QUICK_VARIANTS]
    data = args.out / "data"
    splits = prepared(args.data / "hh_helpful", data, budget["prompt"], budget["completion"])
    scorer = fit_scorer(splits["train"][: SCORER_ROWS[name]], splits["test"], data)
    seeds = [one_seed(args, seed, data, budget, scorer) for seed in args.seeds]
    task = f"hh_helpful, {name} budget" if name else "hh_helpful"
    line = {"task": task, "side": args.side, "seeds": args.seeds, "scorer": scorer.quality}
    print(json.dumps(line | pooled(seeds, args.variants)))


if __name__ == "__main__":
    main()

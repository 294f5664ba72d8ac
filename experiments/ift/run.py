"""Intuitive fine-tuning against fine-tuning at equal tokens and at equal seconds, and the ablation of its two parts.

    python experiments/ift/run.py --task scitldr --data ../shared/data --rates 1e-4 5e-4 1e-3
    python experiments/ift/run.py --task webnlg --data ../shared/data --small
    python experiments/ift/run.py --task webnlg --data ../shared/data --quick

Every arm is the stage `ift` with other switches, so batches, schedule, averaging and step count are the same; with
lam = gamma = 0 it is maximum likelihood, in one pass. `sft_seconds` takes as many steps more as `ift` takes time: its
steps are those of `sft` times the ratio of the median seconds a step of `ift` and `sft`, over all steps of all seeds,
as their logs have them; where other work ran beside them, `--step-ratio` gives it (`benchmarks/offline.py` measures
it). With several `--rates`, `sft` and `ift` each take the one with the best validation la-ROUGE-L on the first seed;
arms without mixing and coupling use that of `sft`, all others that of `ift`. Data are those of the last-mile recipe of
the task. Runs lie in `--out/TASK/ARM/SEED` and go on where they were killed. The last line is one JSON object;
`table.py` makes RESULTS.md out of such lines.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from likelihood import measured

from homestretch import RunFolder, load_recipe
from homestretch.config.recipe import Recipe
from homestretch.config.shipped import find_recipe
from homestretch.config.yaml import load_file
from homestretch.evaluate import evaluate_rows, read_rows
from homestretch.metrics.base import Column
from homestretch.metrics.compare import Table, compare, measure
from homestretch.pairing import answers_of, prompt_of
from homestretch.training.logs import MetricsLog
from homestretch.training.pipeline import run_recipe
from homestretch.writing import write_rows

TASKS = ("scitldr", "webnlg")
PLAIN = ["ift.lam=0", "ift.gamma=0"]
ARMS: dict[str, list[str]] = {
    "sft": PLAIN,
    "mixing": ["ift.gamma=0"],
    "weighting": ["ift.lam=0"],
    "ift": [],
    "detached": ["ift.detach_weights=true"],
    "noisy": ["ift.lam_schedule=noisy"],
    "sft_seconds": PLAIN,
}
QUICK_ARMS = ("sft", "ift", "sft_seconds")
PAIRS = (
    *((arm, "sft") for arm in ARMS if arm != "sft"),
    *(("ift", arm) for arm in ("sft_seconds", "mixing", "weighting", "detached", "noisy")),
)
METRICS = ["rougeL", "la_rougeL", "chrf", "length_ratio"]
LIKELIHOODS = ("nll", "exposure_gap")
CHOICE = "eval/la_rougeL"
# Validation costs what training costs on so few rows: one prompt, because there must be one, and the last weights.
LAST = ["dataset.max_validation=1", "ift.metric_for_best_model=none", "ift.eval_steps=1000", "ift.num_train_epochs=1"]
QUICK = [*LAST, "dataset.max_train=8", "dataset.max_test=4", "ift.train_batch_size=4"]
SMALL = {
    "webnlg": [*LAST, "dataset.max_train=64", "dataset.max_test=40", "ift.train_batch_size=8"],
    "scitldr": [*LAST, "dataset.max_train=64", "dataset.max_test=40", "ift.train_batch_size=8"],
}
SHORT = {
    "webnlg": ["dataset.max_prompt_length=96", "dataset.max_completion_length=48"],
    "scitldr": ["dataset.max_prompt_length=224", "dataset.max_completion_length=40"],
}


def recipe_of(task: str, arm: str, seed: int, data: Path, budget: Sequence[str]) -> Recipe:
    """The arm on the task's data, with the changes of a budget. Long prompts and references are cut, in training
    and test alike."""
    shipped = load_file(find_recipe(f"last_mile/{task}")).values
    values = {
        "model_name_or_path": shipped["model_name_or_path"],
        "dataset": shipped["dataset"] | {"name": str(data / task), "truncate": True},
        "seed": seed,
        "stages": [{"ift": {}}, {"evaluate": {"sampled": False, "metrics": METRICS}}],
    }
    return load_recipe(values, [*ARMS[arm], *budget])


def log_of(run: RunFolder) -> list[dict[str, Any]]:
    """What the run's training logged."""
    return MetricsLog(run.stage(1, "ift").metrics).rows()


def step_seconds(log: Sequence[dict[str, Any]]) -> list[float]:
    """Seconds of each optimiser step but the first, from the running total of a log."""
    return [b["seconds"] - a["seconds"] for a, b in pairwise(row for row in log if "loss" in row)]


def steps_of(log: Sequence[dict[str, Any]]) -> int:
    """Optimiser steps of a log."""
    return sum("loss" in row for row in log)


def time_ratio(slow: Sequence[Sequence[dict[str, Any]]], fast: Sequence[Sequence[dict[str, Any]]]) -> float:
    """How many times as long a step of the one takes, of medians over all steps of all seeds."""
    one, other = (statistics.median(s for log in logs for s in step_seconds(log)) for logs in (slow, fast))
    return one / other


def best_rate(logs: dict[float, list[dict[str, Any]]]) -> float:
    """The rate whose kept checkpoint was best on validation."""
    return max(logs, key=lambda rate: max(row[CHOICE] for row in logs[rate] if CHOICE in row))


def chosen_rates(args: argparse.Namespace, root: Path, budget: Sequence[str]) -> dict[str, float | None]:
    """The step size of `sft` and of `ift`; None leaves the default."""
    if len(args.rates) < 2:
        return dict.fromkeys(("sft", "ift"), *args.rates or [None])
    found: dict[str, float | None] = {}
    for arm in ("sft", "ift"):
        logs = {}
        for rate in args.rates:
            changes = [*budget, f"ift.learning_rate={rate}"]
            recipe = recipe_of(args.task, arm, args.seeds[0], args.data, changes)
            logs[rate] = log_of(run_recipe(recipe, root / "rates" / arm / str(rate)))
        found[arm] = best_rate(logs)
    return found


def train(
    args: argparse.Namespace, root: Path, budget: Sequence[str], rates: dict[str, float | None]
) -> dict[str, list[RunFolder]]:
    """Every arm and seed, the one of equal seconds last."""
    runs: dict[str, list[RunFolder]] = {}
    for arm in args.arms:
        switches = ARMS[arm]
        rate = rates["sft" if switches == PLAIN else "ift"]
        changes = [*budget, *([f"ift.learning_rate={rate}"] if rate else [])]
        if arm == "sft_seconds":
            logs = ([log_of(run) for run in runs[name]] for name in ("ift", "sft"))
            ratio = args.step_ratio or time_ratio(*logs)
            changes.append(f"ift.max_steps={round(ratio * steps_of(log_of(runs['sft'][0])))}")
        recipes = [recipe_of(args.task, arm, seed, args.data, changes) for seed in args.seeds]
        runs[arm] = [run_recipe(r, root / arm / str(r.seed)) for r in recipes]
    return runs


def rows_of(run: RunFolder, arm: str) -> list[dict[str, Any]]:
    """Greedy outputs as the model gave them, with likelihoods; what has been scored is not scored again."""
    file = run.generations.with_name("likelihoods.jsonl")
    if not file.is_file():
        rows = [row for row in read_rows(run.generations) if row["arm"] == "ml_raw"]
        found = measured(str(run.model), rows, load_recipe(run.recipe).dataset)
        made = [row | values for row, values in zip(rows, found, strict=True)]
        write_rows(file, made)
    return [row | {"arm": arm} for row in read_rows(file)]


def pooled(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Arms and comparisons over the prompts of all seeds; a prompt's rows are averaged over seeds first."""
    made = evaluate_rows(rows, metrics=METRICS, comparisons=PAIRS, seed=0).model_dump(mode="json")
    tables = {}
    for arm in made["arms"]:
        mine = [row for row in rows if row["arm"] == arm]
        columns = {key: Column.of_scores([row[key] for row in mine]) for key in LIKELIHOODS}
        tables[arm] = Table.of(answers_of(mine), columns, [prompt_of(row) for row in mine])
        found = measure(tables[arm], seed=0)
        made["arms"][arm]["metrics"] |= {key: value.model_dump() for key, value in found.items()}
    for a, b in ((a, b) for a, b in PAIRS if a in tables and b in tables):
        for key, value in compare(tables[a], tables[b], seed=0).items():
            made["comparisons"].append({"a": a, "b": b, "metric": key, **value._asdict()})
    return made


def costs(runs: dict[str, list[RunFolder]]) -> dict[str, dict[str, float]]:
    """Steps, seconds and tokens of training of each arm, means over seeds, and the share of wrong predictions in its
    first and last steps, where it made any."""
    found = {}
    for arm, its_runs in runs.items():
        logs = [[row for row in log_of(run) if "loss" in row] for run in its_runs]
        cost = {"steps": statistics.fmean(len(log) for log in logs)}
        cost |= {key: statistics.fmean(log[-1][key] for log in logs) for key in ("seconds", "num_tokens")}
        if "token_accuracy" in logs[0][0]:
            for name, at in (("first_error", 0), ("last_error", -1)):
                cost[name] = 1 - statistics.fmean(log[at]["token_accuracy"] for log in logs)
        found[arm] = cost
    return found


def main() -> None:
    """Run, pool and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, default="webnlg")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", choices=ARMS, nargs="+", help="some of them instead of all")
    parser.add_argument("--rates", type=float, nargs="*", default=[], help="step sizes to choose from on validation")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with scitldr/ and webnlg/")
    parser.add_argument("--out", type=Path, default=Path("runs/ift"))
    parser.add_argument(
        "--step-ratio", type=float, help="seconds of a step of ift over those of sft; as logged if left out"
    )
    parser.add_argument("--quick", action="store_true", help="three arms of seed 0, to see that it works")
    parser.add_argument("--small", action="store_true", help="fewer and shorter rows, for a CPU")
    args = parser.parse_args()
    if len(args.rates) > 1 and (args.quick or args.small):
        parser.error("--rates: several need validation, which --quick and --small leave out; give one.")
    name, budget = ("quick", QUICK) if args.quick else ("small", SMALL[args.task]) if args.small else ("", [])
    if name:
        budget = [*budget, *SHORT[args.task]]
    if args.quick:
        args.seeds = [0]
    args.arms = args.arms or list(QUICK_ARMS if args.quick else ARMS)
    if "sft_seconds" in args.arms and not {"sft", "ift"} <= {*args.arms[: args.arms.index("sft_seconds")]}:
        parser.error("--arms: `sft_seconds` takes its steps from the times of `sft` and `ift`; name both before it.")
    root = args.out / name / args.task
    rates = chosen_rates(args, root, budget)
    runs = train(args, root, budget, rates)
    rows = [row for arm, its_runs in runs.items() for run in its_runs for row in rows_of(run, arm)]
    line = {"task": f"{args.task}, {name} budget" if name else args.task, "seeds": args.seeds, "rates": rates}
    print(json.dumps(line | {"threads": torch.get_num_threads(), "costs": costs(runs)} | pooled(rows)))


if __name__ == "__main__":
    main()

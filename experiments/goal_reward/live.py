"""What giving samples up saves: majority votes over chains of sums, with and without a goal model that reads along.

    python experiments/goal_reward/live.py [--seeds 0 1 2] [--quick] [--temperature 1.5]

A prompt is a chain such as `3+5-2=`, its solution every step modulo ten (`3+5=8;8-2=6;`) and the last digit is the
answer: a wrong step makes all that follow wrong. A small Llama is fine-tuned on solutions; its own
right and wrong samples of the same prompts are the pairs of the goal model. The threshold is chosen
on validation prompts at a recall of 95 % of right samples. On test prompts eight samples vote, with the goal model and
without it in turn, one round to warm up. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from pathlib import Path
from typing import Any

from letters import model_of_letters, written

from homestretch import find_filter, fit_reward, generate, load_recipe
from homestretch.metrics.partial import partial_auroc
from homestretch.metrics.voting import majority
from homestretch.training.pipeline import run_recipe
from homestretch.verbs.goal import token_values

STEPS, SAMPLES = 12, 8
NEW = 6 * STEPS + 8
RECALLS = (0.99, 0.95, 0.9, 0.8, 0.7, 0.5)
TEMPERATURE = 1.5
"""Of sampling: about half of the answers to validation prompts are right; at 1 nearly all are."""


def chain(draw: random.Random) -> dict[str, str]:
    """A prompt and its solution."""
    value, prompt, solution = draw.randrange(10), "", ""
    prompt = str(value)
    for _ in range(STEPS):
        sign, other = draw.choice("+-"), draw.randrange(10)
        after = (value + other if sign == "+" else value - other) % 10
        prompt, solution = f"{prompt}{sign}{other}", f"{solution}{value}{sign}{other}={after};"
        value = after
    return {"prompt": f"{prompt}=", "completion": solution, "answer": str(value)}


def chains(count: int, seed: int) -> list[dict[str, str]]:
    """Chains that differ."""
    draw, found = random.Random(seed), {}
    while len(found) < count:
        row = chain(draw)
        found[row["prompt"]] = row
    return list(found.values())


def answer(text: str) -> str | None:
    """The last digit, where the text ends as a solution does."""
    return text[-2] if len(text) > 2 and text.endswith(";") else None


def judged(file: Path, rows: list[dict[str, Any]], model: str, *, seed: int, **options: Any) -> list[dict[str, Any]]:
    """Samples of each chain, with their answers and whether these are right."""
    written(file, rows)
    known = {row["prompt"]: row["answer"] for row in rows}
    how = {"num_samples": SAMPLES, "max_new_tokens": NEW} | options
    made = generate(model, file, seed=seed, **how)
    return [
        row | {"answer": answer(row["text"]), "correct": answer(row["text"]) == known[row["prompt"]]} for row in made
    ]


def pairs_of(samples: list[dict[str, Any]]) -> list[dict[str, str]]:
    """A right and a wrong sample of each prompt that has both."""
    by_prompt: dict[str, dict[bool, str]] = {}
    for row in samples:
        by_prompt.setdefault(row["prompt"], {}).setdefault(row["correct"], row["text"])
    return [
        {"prompt": prompt, "chosen": found[True], "rejected": found[False]}
        for prompt, found in by_prompt.items()
        if len(found) == 2 and found[False]
    ]


def votes(samples: list[dict[str, Any]]) -> dict[str, float]:
    """Share of right votes and of right samples among those that were not given up, and tokens written."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in samples:
        groups.setdefault(row["prompt"], []).append(row)
    right = []
    for group in groups.values():
        kept = [row for row in group if not row.get("given_up")] or group
        right.append(majority([row["answer"] for row in kept], [row["correct"] for row in kept]))
    kept = [row for row in samples if not row.get("given_up")]
    return {
        "vote_right": statistics.fmean(right),
        "samples_right": statistics.fmean(row["correct"] for row in kept),
        "given_up": 1 - len(kept) / len(samples),
        "tokens": sum(row["tokens"] for row in samples),
    }


def curve(goal: Any, samples: Path) -> dict[float, dict[str, float]]:
    """What thresholds for several recalls make of samples with labels: `find_filter` chooses each on half of the
    prompts and tells of the others."""
    found = {recall: find_filter(goal, samples, recall=recall, patience=2) for recall in RECALLS}
    return {
        recall: {"threshold": made["filter"].threshold, "vote_all": made["all"]["vote_right"]}
        | {key: made["kept"][key] for key in ("vote_right", "responses_right", "tokens_saved", "lost_all")}
        for recall, made in found.items()
    }


def areas(goal: Any, samples: list[dict[str, Any]], file: Path) -> dict[str, float]:
    """Area under the ROC curve of Q, right samples against wrong ones, behind each tenth of a sample."""
    rows = [row for row in samples if row["text"]]
    values = token_values(goal, written(file, rows))
    found = partial_auroc([row["q"] for row in values], [row["correct"] for row in rows])
    return {f"{share:.1f}": area for share, area in found.items()}


def one_seed(
    root: Path, seed: int, *, steps: int, train: int, test: int, rounds: int, temperature: float
) -> dict[str, Any]:
    """Everything for one seed."""
    rows = chains(2 * train + test, seed)
    start = model_of_letters(root / "start", "0123456789+-=;>", seed=seed, width=128, layers=4)
    data = written(root / "train.jsonl", rows[:train])
    sft = {"use_peft": False, "learning_rate": 1e-3, "max_steps": steps, "train_batch_size": 64, "eval_examples": 8}
    recipe = load_recipe(
        {
            "model_name_or_path": start,
            "seed": seed,
            "dataset": {"name": str(data), "max_completion_length": NEW},
            "stages": [{"sft": sft | {"eval_steps": steps, "metric_for_best_model": "none"}}],
        }
    )
    model = str(run_recipe(recipe, root / "sft").path / "model")
    samples = judged(root / "own.jsonl", rows[train : train + train // 4], model, seed=1, temperature=temperature)
    pairs = written(root / "pairs.jsonl", pairs_of(samples))
    settings = [
        "reward.kind=pairwise",
        "reward.use_peft=false",
        "reward.learning_rate=5e-4",
        "reward.contrast.weight=0.5",
        "reward.num_train_epochs=8",
        "reward.train_batch_size=32",
        f"seed={seed}",
        f"dataset.max_completion_length={NEW}",
    ]
    goal = fit_reward(pairs, model=model, out=root / "goal", overrides=settings).path
    validation = judged(
        root / "validation.jsonl", rows[train + train // 4 : train + train // 2], model, seed=2, temperature=temperature
    )
    found = find_filter(goal, written(root / "labelled.jsonl", validation), recall=0.95, patience=2)
    reading = {"goal_model": str(goal), "give_up_below": found["filter"].threshold, "patience": 2}
    results: dict[str, list[dict[str, float]]] = {"all": [], "filtered": []}
    for number in range(rounds + 1):
        for name, options in (("all", {}), ("filtered", reading)):
            began = time.perf_counter()
            made = judged(root / "test.jsonl", rows[2 * train :], model, seed=3, temperature=temperature, **options)
            if number:
                results[name].append({"seconds": time.perf_counter() - began} | votes(made))
    return {
        "threshold": found["filter"].threshold,
        "on_validation": {k: found[k] for k in ("all", "kept")},
        "curve": curve(goal, root / "labelled.jsonl"),
        "areas": areas(goal, validation, root / "read.jsonl"),
        **{
            name: {key: statistics.median(r[key] for r in rows_) for key in rows_[0]} for name, rows_ in results.items()
        },
        "speed": statistics.median(
            a["seconds"] / b["seconds"] for a, b in zip(results["all"], results["filtered"], strict=True)
        ),
    }


def main() -> None:
    """Run, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1200, help="of fine-tuning")
    parser.add_argument("--temperature", type=float, default=TEMPERATURE, help="of sampling")
    parser.add_argument("--out", type=Path, default=Path("runs/goal_live"))
    parser.add_argument("--quick", action="store_true", help="under two minutes, too little to learn the task")
    args = parser.parse_args()
    size = (
        {"steps": 40, "train": 256, "test": 16, "rounds": 1}
        if args.quick
        else {"steps": args.steps, "train": 4000, "test": 200, "rounds": 3}
    )
    seeds = args.seeds[:1] if args.quick else args.seeds
    root = args.out / ("quick" if args.quick else "full")
    runs = [one_seed(root / str(s), s, **size, temperature=args.temperature) for s in seeds]
    line = {"name": "goal_live", "seeds": seeds, "speed": statistics.median(run["speed"] for run in runs)}
    line |= {f"vote_{n}": statistics.fmean(run[n]["vote_right"] for run in runs) for n in ("all", "filtered")}
    print(json.dumps(line | {"runs": runs}))


if __name__ == "__main__":
    main()

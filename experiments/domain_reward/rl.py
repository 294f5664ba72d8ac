"""Learning from a reward of named features, and what becomes of the metrics that it does not pay for.

    python experiments/domain_reward/rl.py --seeds 0 1 2
    python experiments/domain_reward/rl.py --task scitldr --data ../shared/data
    python experiments/domain_reward/rl.py --small | --quick

The reward needs no label, no judge and no model: a net on three qualities that words alone tell (`words.yaml`), fitted
to references against failure modes made of them. `alol` learns the stored references by it, and `rloo` samples of its
own; both are compared with the model of maximum likelihood that they start from (`sft`), all greedy. `best_of` picks
the best of several samples of that model by it and is compared with one sample (`one_sample`). Optimised are the reward
and its features; overlap with the references, similarity, diversity, copying, failures by rule and three qualities that
the net never sees are not. Each is told to be better, worse or unclear, by the 95 % interval of its paired difference
over the test prompts; a prompt's outputs are averaged over seeds first. An alignment tax would be metrics that get
worse while the reward rises.

Runs lie in `--out/TASK/BUDGET` and go on where they were killed. `--small` is a budget for one CPU core, `--quick`
shows in two minutes that it works. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from homestretch import Compared, compare, fit_features
from homestretch.config.shipped import find_recipe
from homestretch.config.yaml import load_file
from homestretch.data.records import Example
from homestretch.data.sources import load
from homestretch.negatives import CORRUPTIONS, Corpus, corruptions
from homestretch.negatives.mix import make_negatives
from homestretch.report.verdict import outcome
from homestretch.results import Comparison
from homestretch.writing import write_rows

SETTINGS = Path(__file__).parent / "words.yaml"
TASKS = ("docstrings", "scitldr")
REWARD = "quality"
PAID = ("aspect_coverage", "conciseness", "hallucination")
"""The features of the reward."""
UNPAID = ("relevance", "opinion_faithfulness", "language_correctness")
"""Qualities that are measured and not paid for."""
OVERLAP = ("la_rougeL", "rougeL", "bleu", "chrf", "similarity", "distinct2", "copy_rate", "length_ratio")
FAILURES = "failures/any"
AGAINST = {"alol": "sft", "rloo": "sft", "best_of": "one_sample"}
"""What each method is compared with: what answers in the same way without the reward."""

BUDGETS: dict[str, dict[str, Any]] = {
    "full": {"pairs": 2000, "samples": 16, "settings": []},
    "small": {
        "pairs": 600,
        "samples": 8,
        "settings": [
            "dataset.max_train=160", "dataset.max_validation=32", "dataset.max_test=60", "sft.max_steps=10",
            "sft.metric_for_best_model=none", "sft.eval_examples=1", "value.num_train_epochs=5", "alol.max_steps=10",
            "alol.metric_for_best_model=none", "alol.eval_examples=1", "rloo.max_steps=5", "rloo.rollout_batch_size=64",
            "rloo.metric_for_best_model=none", "rloo.eval_examples=1",
        ],
    },
    "quick": {
        "pairs": 60,
        "samples": 2,
        "settings": [
            "dataset.max_train=12", "dataset.max_validation=6", "dataset.max_test=4", "dataset.max_prompt_length=64",
            "dataset.max_completion_length=12", "sft.max_steps=1", "sft.train_batch_size=4", "sft.eval_examples=1",
            "sft.metric_for_best_model=none", "value.max_steps=1", "alol.max_steps=1", "alol.train_batch_size=4",
            "alol.eval_examples=1", "alol.metric_for_best_model=none", "rloo.max_steps=1", "rloo.rollout_batch_size=8",
            "rloo.train_batch_size=8", "rloo.eval_examples=1", "rloo.metric_for_best_model=none",
        ],
    },
}  # fmt: skip
"""Failure modes that the net is fitted to, samples of best-of-n, and settings of all recipes."""


def preference_rows(examples: Sequence[Example]) -> list[dict[str, Any]]:
    """References against failure modes made of them, a pair an example, with the document that features read."""
    documents = {example.id: example.source for example in examples}
    rows = make_negatives(examples, corruptions(list(CORRUPTIONS), Corpus(examples)), classes_per_example=1, seed=0)
    return [row | {"document": documents[row["id"]]} for row in rows]


def terms(folder: Path) -> dict[str, dict[str, Any]]:
    """What outputs are measured by: the reward, which alone has a weight, its features, and those that it has not."""
    local = {name: {"local": name, "weight": 0} for name in (*PAID, *UNPAID)}
    return {REWARD: {"features": str(folder)}, **local}


def recipes(task: str, data: Path, folder: Path, samples: int) -> dict[str, dict[str, Any]]:
    """Every method as values: the task's data and fine-tuning as shipped, then its own stages."""
    shipped = load_file(find_recipe(f"alol/{task}")).values
    start = {key: value for key, value in shipped.items() if key != "stages"}
    if task != "docstrings":
        start["dataset"] = start["dataset"] | {"name": str(data / task)}
    [sft] = [stage for stage in shipped["stages"] if "sft" in stage]
    paid = {"features": str(folder)}
    own: dict[str, list[dict[str, Any]]] = {
        "sft": [],
        "alol": [{"value": {"rewards": {REWARD: paid | {"sigmoid": True}}}}, {"alol": {}}],
        # Nothing but the reward is paid for: no length term.
        "rloo": [{"rloo": {"rewards": {REWARD: paid}, "standardise": True, "length_penalty": "none"}}],
        "one_sample": [{"best_of": {"num_samples": 1, "rewards": {REWARD: paid}}}],
        "best_of": [{"best_of": {"num_samples": samples, "rewards": {REWARD: paid}}}],
    }
    return {name: start | {"stages": [sft, *stages]} for name, stages in own.items()}


def moved(record: Compared) -> dict[str, dict[str, Any]]:
    """Of each method that finished: every metric's difference to its control, and which way it moved."""
    found = {}
    for method, control in AGAINST.items():
        differences = [d for c in record.comparisons if (d := turned(c, method, control)) is not None]
        metrics = {c.metric: reading(c) for c in differences if c.metric == FAILURES or "failures/" not in c.metric}
        if metrics:
            optimised = [f"rewards/{name}" for name in (REWARD, *PAID) if f"rewards/{name}" in metrics]
            others = [name for name in metrics if name not in optimised]
            found[method] = {"against": control, "optimised": part(metrics, optimised), "others": part(metrics, others)}
    return found


def turned(comparison: Comparison, a: str, b: str) -> Comparison | None:
    """The comparison as a minus b; None where it is of others."""
    if (comparison.a, comparison.b) == (a, b):
        return comparison
    if (comparison.a, comparison.b) != (b, a):
        return None
    signs = {"difference": -comparison.difference, "low": -comparison.high, "high": -comparison.low}
    return comparison.model_copy(update={"a": a, "b": b, **signs})


def reading(comparison: Comparison) -> dict[str, Any]:
    """Difference, interval, and better, worse or unclear; up or down where neither direction is better."""
    way = outcome(comparison)
    said: str = way
    if comparison.higher_is_better is None and not comparison.low <= 0 <= comparison.high:
        said = "up" if comparison.difference > 0 else "down"
    numbers = {name: round(getattr(comparison, name), 4) for name in ("difference", "low", "high", "p_value")}
    return numbers | {"n": comparison.n, "moved": said}


def part(metrics: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Some of the metrics, and which of them moved which way."""
    chosen = {name: metrics[name] for name in names}
    ways = {way: [n for n in names if chosen[n]["moved"] == way] for way in ("better", "worse", "up", "down")}
    return {"metrics": chosen, **{way: there for way, there in ways.items() if there}}


def values(record: Compared) -> dict[str, Any]:
    """Every metric of every method, with its interval."""
    return {
        name: {key: [round(m.value, 4), round(m.low, 4), round(m.high, 4)] for key, m in arm.metrics.items()}
        for name, arm in record.arms.items()
    }


def main() -> None:
    """Fit the reward, train, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, default="docstrings")
    parser.add_argument("--seeds", type=int, nargs="+", help="0 1 2, or 0 with --quick")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with scitldr/")
    parser.add_argument("--out", type=Path, default=Path("runs/domain_reward/rl"))
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--small", action="store_true", help="fewer rows and steps, for one CPU core")
    size.add_argument("--quick", action="store_true", help="nearly nothing of one seed, to see that it works")
    args = parser.parse_args()
    name = "quick" if args.quick else "small" if args.small else "full"
    budget, out = BUDGETS[name], args.out / args.task / name
    seeds = args.seeds or ([0] if args.quick else [0, 1, 2])

    source = "builtin/docstrings" if args.task == "docstrings" else args.data / args.task
    examples = load(source, on_bad_row="skip", rejected=out / "rejected.jsonl").train[: budget["pairs"]]
    write_rows(out / "pairs.jsonl", preference_rows(examples))
    fit = fit_features(out / "pairs.jsonl", out=out / REWARD, settings=SETTINGS)
    record = compare(
        recipes(args.task, args.data, out / REWARD, budget["samples"]),
        out=out / "comparison",
        seeds=seeds,
        overrides=[
            *budget["settings"],
            f"evaluate.rewards={json.dumps(terms(out / REWARD))}",
            f"evaluate.metrics={json.dumps(OVERLAP)}",
        ],
    )
    line = {"name": "rl", "task": args.task, "budget": name, "seeds": seeds, "samples": budget["samples"]}
    failed = {method: found.error for method, found in record.methods.items() if found.error}
    line |= {"fit": {key: fit[key] for key in ("pairs", "validation", "alone")}, "failed": failed}
    print(json.dumps(line | {"moved": moved(record), "values": values(record)}))


if __name__ == "__main__":
    main()

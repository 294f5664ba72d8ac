"""A reward model with and without the contrastive term, on solutions of GSM8K questions.

    python experiments/goal_reward/run.py --data ../shared/data [--model small] [--seeds 0 1 2 3 4] [--quick]

Training and test questions are disjoint, and each seed draws its own. Areas under the ROC curve tell right from wrong
solutions by the reward and by Q behind each tenth of a solution, over all solutions and within each generator: which
model wrote a solution says much about whether it is right. A filter's threshold keeps 95 % of the right training
solutions; the vote is over the four solutions of a test question. `small` is a Llama of four layers with random
weights. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch
from prepare import GENERATORS, prepared
from scipy.stats import spearmanr
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from homestretch import fit_reward
from homestretch.data.files import read_file
from homestretch.metrics.partial import SHARES, partial_auroc
from homestretch.metrics.voting import threshold_for_recall, vote
from homestretch.policies.builtin import smollm2
from homestretch.verbs.goal import make_goal, summary, token_values

VARIANTS: dict[str, list[str]] = {"plain": [], "contrast": ["reward.contrast.weight=0.5"]}
SIZES = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 4}


def small_model(folder: Path, seed: int) -> str:
    """A Llama with random weights and the tokenizer of SmolLM2."""
    tokenizer = AutoTokenizer.from_pretrained(smollm2())
    torch.manual_seed(seed)
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **SIZES)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def fit(variant: str, pairs: Path, model: str, out: Path, settings: list[str]) -> Path:
    """Train a reward model, and give it the goal of the right solutions if it has none."""
    run = fit_reward(pairs, model=model, out=out, overrides=[*settings, *VARIANTS[variant]]).path
    if variant == "plain":
        make_goal(run, pairs)
    return run


def measured(run: Path, pairs: Path, test: Path) -> dict[str, Any]:
    """Everything about one reward model."""
    rows = [raw.value for raw in read_file(test)]
    values = token_values(run, test)
    right = [bool(row["correct"]) for row in rows]
    found: dict[str, Any] = {}
    for name in ("rewards", "q"):
        series = [row[name] for row in values]
        found[name] = {"auroc": {f"{share:.1f}": a for share, a in partial_auroc(series, right).items()}}
        found[name]["rises"] = float(spearmanr(SHARES, list(found[name]["auroc"].values())).statistic)
        within = []
        for generator in GENERATORS:
            own = [i for i, row in enumerate(rows) if row["generator"] == generator]
            within.append(partial_auroc([series[i] for i in own], [right[i] for i in own], shares=(1.0,))[1.0])
        found[name]["within_generators"] = statistics.fmean(within)
    mean_q = [statistics.fmean(row["q"]) for row in values]
    found["mean_q_right"] = statistics.fmean(q for q, ok in zip(mean_q, right, strict=True) if ok)
    found["mean_q_wrong"] = statistics.fmean(q for q, ok in zip(mean_q, right, strict=True) if not ok)
    chosen = [row["q"] for row in token_values(run, pairs)]
    by = threshold_for_recall(chosen, [True] * len(chosen), recall=0.95)
    votes: dict[str, list] = {"all": [], "kept": []}
    for at in range(0, len(rows), len(GENERATORS)):
        some = range(at, at + len(GENERATORS))
        answers, known = [rows[i]["answer"] or None for i in some], [right[i] for i in some]
        votes["all"].append(vote(answers, known, [values[i]["q"] for i in some]))
        votes["kept"].append(vote(answers, known, [values[i]["q"] for i in some], by=by))
    return found | {"threshold": by.threshold} | {name: summary(v) for name, v in votes.items()}


def main() -> None:
    """Fit, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with gsm8k_solutions/")
    parser.add_argument("--model", default="small", help="`small`, or a model of yours")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--questions", type=int, help="take no more than these")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--out", type=Path, default=Path("runs/goal_reward"))
    parser.add_argument("--quick", action="store_true", help="under two minutes")
    args = parser.parse_args()
    seeds, most = (args.seeds[:1], 60) if args.quick else (args.seeds, args.questions)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in VARIANTS}
    for seed in seeds:
        root = args.out / args.model.replace("/", "_") / ("quick" if args.quick else "full") / str(seed)
        pairs, test = prepared(args.data, root / "data", seed=seed, most=most)
        is_small = args.model == "small"
        model = small_model(root / "model", seed) if is_small else args.model
        settings = [
            f"seed={seed}",
            "reward.kind=pairwise",
            f"reward.num_train_epochs={args.epochs}",
            "dataset.max_prompt_length=256",
            "dataset.max_completion_length=256",
            "dataset.truncate=true",
            f"reward.use_peft={not is_small}",
            f"reward.train_batch_size={16 if is_small else 32}",
        ]
        for name in VARIANTS:
            run = fit(name, pairs, model, root / name, settings)
            runs[name].append(measured(run, pairs, test))
    difference = [
        with_["rewards"]["auroc"]["1.0"] - without["rewards"]["auroc"]["1.0"]
        for with_, without in zip(runs["contrast"], runs["plain"], strict=True)
    ]
    line = {
        "name": "goal_reward",
        "model": args.model,
        "seeds": seeds,
        "auroc_difference": statistics.fmean(difference),
    }
    print(json.dumps(line | {"differences": difference, "runs": runs}))


if __name__ == "__main__":
    main()

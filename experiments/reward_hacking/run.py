"""Reward hacking at small scale: PPO against a weak reward model, with a strong one looking on.

    python experiments/reward_hacking/run.py [--small | --quick] [--data FOLDER] [--out FOLDER] [ppo.KEY=VALUE ...]

A small model from nothing is fine-tuned on short triples of WebNLG. The strong reward model, which stands for the
truth, learns from all failure modes of many pairs; a weak one for each seed from few pairs of `--weak`. PPO
has the score of the weak one: `free` without a penalty, with fixed KL coefficients, and stopped by the run doctor, once
with the strong model among its golden signals and once `blind`, with what any run has. The checkpoint with the best
validation metric is kept in all. A run without stop is hacked where the strong score falls at its end while the reward
is at its best; each alarm is asked when it would have spoken. Kept models are compared by samples for test prompts.

Started again it goes on where it stopped. Prints tables and, as its last line, one JSON object. `--small` is a budget
for one CPU core; `--quick`, which shows that everything works and no more, takes under two minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from courses import METRIC, START, STOPPED, Row, against, alarm_table, course, heard, tables

from homestretch import RunFolder, load_data, load_recipe, load_tokenizer, score_rows
from homestretch.cli.compare import numbers
from homestretch.config.recipe import Recipe
from homestretch.config.training import TrainingConfig
from homestretch.data.records import completion_text, prompt_text
from homestretch.data.tokenize import length_check
from homestretch.errors import DataError, HomestretchError, InputError
from homestretch.policies.scratch import learnt_tokenizer, untrained
from homestretch.training.logs import MetricsLog
from homestretch.training.pipeline import run_recipe
from homestretch.verbs.generate import generate
from homestretch.writing import write_rows

Budget = Mapping[str, int]
Judges = Mapping[str, Path]
LONGEST = {"max_prompt_length": 56, "max_completion_length": 36}
"""Tokens of prompts and completions; longer rows are left out."""
COMMON = {"use_peft": False, "bf16": False}
CONTENT = ("irrelevant", "near_miss", "swapped", "spliced", "mined")
"""Failure modes that are harder to tell, of which the strong reward model has more."""
WEAK = "shuffled"
ARMS: dict[str, dict[str, Any]] = {
    "free": {"kl": "off"},
    "kl_0.05": {"kl_coef": 0.05},
    "kl_0.2": {"kl_coef": 0.2},
    "stopped": {"kl": "off", "doctor": "stop"},
    "stopped_blind": {"kl": "off", "doctor": "stop", "golden": {}},
}
BUDGETS: dict[str, dict[str, int]] = {
    "": {"width": 128, "train": 3000, "sft": 2000, "strong": 3000, "weak": 100, "rounds": 100, "rollout": 128},
    "small": {"width": 96, "train": 1500, "sft": 600, "strong": 700, "weak": 60, "rounds": 40, "rollout": 64},
    "quick": {"width": 32, "train": 120, "sft": 30, "strong": 10, "weak": 20, "rounds": 16, "rollout": 8},
}
"""Width of the models, prompts, steps of fine-tuning and of the strong reward model, pairs of the weak one, rounds of
PPO and samples of each."""


def prepared(source: Path, out: Path, budget: Budget) -> tuple[Path, Path]:
    """Folders of the short rows, each prompt once, and of an untrained model that has learnt their tokens."""
    data, model = out / "data", out / "untrained"
    if (data / "test.jsonl").is_file():
        return data, model
    splits = load_data(source, on_bad_row="skip", rejected=out / "rejected.jsonl")
    texts = [text for e in splits.train for text in (prompt_text(e), completion_text(e))]
    tokenizer = learnt_tokenizer(texts, vocabulary=800)
    untrained(model, tokenizer, width=budget["width"], layers=2, positions=sum(LONGEST.values()), seed=0)
    check = length_check(load_tokenizer(str(model)), is_encoder_decoder=False, **LONGEST)
    for split, count in (("train", budget["train"]), ("validation", 64), ("test", 128)):
        short: dict[str, Row] = {}
        for example in getattr(splits, split):
            with contextlib.suppress(DataError):  # rows that are too long are left out
                check(example)
                short.setdefault(prompt_text(example), {"references": list(example.references)})
        if not short:
            raise InputError(f"{source}: no row of the split `{split}` is short enough ({LONGEST}); give other data.")
        rows = [{"prompt": prompt, "completion": row["references"][0], **row} for prompt, row in short.items()]
        order = np.random.default_rng(0).permutation(len(rows))[:count]
        write_rows(data / f"{split}.jsonl", [rows[i] for i in order])
    return data, model


def recipe(
    model: Path,
    data: Path,
    stages: list[Any],
    *,
    seed: int = 0,
    pairs: int | None = None,
    judge: Path | None = None,
    overrides: Sequence[str] = (),
) -> Recipe:
    """A recipe on the short rows, or so many `pairs` of them, which the seed draws; `judge` is a reward model."""
    shared = {"model_name_or_path": str(model), "seed": seed, "device": "cpu", "stages": stages}
    shared |= {"dataset": {"name": str(data), "max_train": pairs, "on_bad_row": "skip", **LONGEST}}
    return load_recipe(shared | ({"reward_model_name_or_path": str(judge)} if judge else {}), list(overrides))


def judging(steps: int) -> dict[str, Any]:
    """The stage that makes a reward model."""
    return {"reward": {**COMMON, "learning_rate": 5e-4, "train_batch_size": 32, "max_steps": steps, "doctor": "off"}}


def start(model: Path, data: Path, budget: Budget) -> Recipe:
    """Fine-tuning, and the strong reward model."""
    sft = {**COMMON, "learning_rate": 2e-3, "lr_scheduler_type": "cosine", "train_batch_size": 32, "doctor": "off"}
    sft |= {"max_steps": budget["sft"], "metric_for_best_model": "nll"}
    negatives = {"held_out": None, "classes_per_example": 4, "mined": {"max_prompts": budget["train"] // 4}}
    negatives["weights"] = dict.fromkeys(CONTENT, 3)
    return recipe(model, data, [{"sft": sft}, {"negatives": negatives}, judging(budget["strong"])])


def weak(model: Path, data: Path, budget: Budget, seed: int, classes: Sequence[str]) -> Recipe:
    """A reward model of few pairs that knows these failure modes."""
    negatives = {"classes": list(classes), "held_out": None}
    return recipe(model, data, [{"negatives": negatives}, judging(40)], seed=seed, pairs=budget["weak"])


def arm(
    name: str, model: Path, data: Path, judges: Judges, budget: Budget, seed: int, overrides: Sequence[str] = ()
) -> Recipe:
    """A way of running PPO against the weak reward model."""
    ppo = {**COMMON, "learning_rate": 5e-4, "length_penalty": "none", "num_generations": 4, "save_steps": 1000}
    ppo |= dict.fromkeys(("rollout_batch_size", "train_batch_size"), budget["rollout"])
    ppo |= {"max_steps": budget["rounds"], "eval_steps": 2, "eval_examples": 32, "metric_for_best_model": METRIC}
    ppo |= {"golden": {"strong": {"reward_model": str(judges["strong"])}}, **ARMS[name]}
    return recipe(model, data, [{"ppo": ppo}], seed=seed, judge=judges["weak"], overrides=overrides)


def samples(model: Path, data: Path, judges: Judges, file: Path) -> dict[str, float]:
    """Mean scores of both reward models for a sample of each test prompt at temperature 1."""
    if not file.is_file():
        lengths = {
            "max_prompt_length": LONGEST["max_prompt_length"],
            "max_new_tokens": LONGEST["max_completion_length"],
        }
        write_rows(file, generate(model, data, temperature=1.0, device="cpu", **lengths))
    return {
        name: statistics.fmean(row["reward"] for row in score_rows(folder, file, device="cpu"))
        for name, folder in judges.items()
    }


def one_seed(
    seed: int,
    begun: RunFolder,
    data: Path,
    out: Path,
    budget: Budget,
    *,
    classes: Sequence[str],
    overrides: Sequence[str],
) -> dict[str, Row]:
    """Course, kept round, samples and alarms of each way, and samples of the start."""
    model, strong = (stage.model for stage in (begun.stage(1, "sft"), begun.stage(3, "reward")))
    judged = run_recipe(weak(model, data, budget, seed, classes), out / "weak" / str(seed))
    judges = {"weak": judged.stage(2, "reward").model, "strong": strong}
    found: dict[str, Row] = {START: {"samples": samples(model, data, judges, judged.path / "start.jsonl")}}
    logs: dict[str, list[Row]] = {}
    for name in ARMS:
        made = arm(name, model, data, judges, budget, seed, overrides)
        stage = run_recipe(made, out / "ppo" / name / str(seed)).stage(1, "ppo")
        rows = logs[name] = MetricsLog(stage.metrics).rows()
        last = rows[-1]["step"]
        # the same rounds as without a stop; a run that does not look at the strong model has no score of it
        seen = [row for row in logs["free"] if row["step"] <= last] if name in STOPPED else rows
        best = max((row for row in rows if f"eval/{METRIC}" in row), key=lambda row: row[f"eval/{METRIC}"])
        found[name] = {**course(seen)._asdict(), "kept": best["step"]}
        found[name]["samples"] = samples(stage.model, data, judges, stage.path / "samples.jsonl")
        if name not in STOPPED:
            config = made.find("ppo")
            assert isinstance(config, TrainingConfig)
            found[name]["alarms"] = heard(rows, config)
    return found


def modes(file: Path) -> dict[str, float]:
    """How well a reward model tells each failure mode, on pairs that were held out."""
    return {mode: found["auroc"] for mode, found in json.loads(file.read_text()).items()}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, tiny models, few rounds")
    parser.add_argument("--small", action="store_true", help="smaller models and fewer rounds, for one CPU core")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with webnlg/")
    parser.add_argument("--out", type=Path, default=Path("runs/reward_hacking"))
    parser.add_argument("--seeds", default=None, metavar="N,N,...", help="seeds of weak reward models and of PPO")
    parser.add_argument("--weak", default=WEAK, metavar="MODE,MODE,...", help=f"what weak models know ({WEAK})")
    parser.add_argument("settings", nargs="*", metavar="ppo.KEY=VALUE", help="settings of every way of running PPO")
    args = parser.parse_args()
    source, name = args.data / "webnlg", "quick" if args.quick else "small" if args.small else ""
    if not source.is_dir():
        sys.exit(f"{source}: there is no such folder; put the three files of WebNLG there, or give --data.")
    budget, out = BUDGETS[name], args.out / name
    data, model = prepared(source, out, budget)
    begun = run_recipe(start(model, data, budget), out / "start")
    numbered, known = numbers(args.seeds or ("0" if args.quick else "0,1,2")), {"classes": args.weak.split(",")}
    seeds = [one_seed(seed, begun, data, out, budget, **known, overrides=args.settings) for seed in numbered]
    alarms, gains = alarm_table(seeds), against(seeds)
    print(*tables(seeds, alarms, gains), sep="\n\n")
    judges = {"strong": begun.stage(3, "reward")}
    judges |= {f"weak, seed {seed}": RunFolder(out / "weak" / str(seed)).stage(2, "reward") for seed in numbered}
    line = {"name": "reward_hacking", "budget": name, "seeds": numbered, "weak": known["classes"]}
    line["auroc"] = {of: modes(stage.path / "reward_model.json") for of, stage in judges.items()}
    print(json.dumps(line | {"runs": seeds, "alarms": alarms, "stop_against": gains}))


if __name__ == "__main__":
    try:
        main()
    except HomestretchError as error:
        sys.exit(str(error))

"""Writes the folder of a made-up but realistic run, by the schema of `results.py` and with texts of our own."""

from __future__ import annotations

import json
import random
from pathlib import Path

from homestretch.results import (
    Arm,
    Comparison,
    Environment,
    Length,
    Measured,
    Results,
    RewardMode,
    RunFolder,
    Selection,
    StageRecord,
    Timing,
)

VERBS = ("Return", "Build", "Remove", "Check", "Write", "Split", "Join", "Convert")
THINGS = ("the open file", "a sorted list", "every expired lock", "the header row", "each pending task", "a time zone")
WAYS = ("in place", "without copying it", "by its name", "after a timeout", "from the cache", "as plain text")
MODES = {"no_end": (0.11, 0.02), "repetition": (0.07, 0.02), "copy": (0.12, 0.08), "too_long": (0.16, 0.05)}
ARMS = ("ml_raw", "ml_post", "rl_raw", "rl_post")
EVIL = '<script>alert(1)</script> "><img src=x onerror=alert(2)> </p></details>'
RIGHT_TO_LEFT = "קוראת את הקובץ ומחזירה שורות 🧵 \u202eand back"


def measured(value: float, half: float, n: int, *, up: bool = True) -> Measured:
    low = value - half if value > 2 else max(0.0, value - half)
    return Measured(value=round(value, 4), low=round(low, 4), high=round(value + half, 4), n=n, higher_is_better=up)


def make_results(*, n: int = 300, gain: float = 2.3, spread: float = 1.2) -> Results:
    """Results whose headline difference is `gain` with an interval of +- `spread`."""
    arms = {}
    for suffix, base in (("", 24.4), ("@t1", 18.9)):
        for i, arm in enumerate(ARMS):
            rl = i // 2
            worse = 1.6 if suffix else 1.0
            score = base + gain * rl * worse + 0.5 * (i % 2)
            metrics = {
                "la_rougeL": measured(score, 1.3, n),
                "rougeL": measured(score + 2.0 - 0.4 * rl, 1.4, n),
                "rouge1": measured(score + 4.4, 1.5, n),
                "rouge2": measured(score - 13.2, 1.1, n),
                "bleu": measured(score / 4, 0.9, n),
                "chrf": measured(score + 3.1, 1.2, n),
                "reward": measured(0.4 + 0.9 * rl, 0.15, n),
                "distinct2": measured(0.871 - 0.01 * rl, 0.01, n),
                "copy_rate": measured(0.341 - 0.02 * rl, 0.02, n, up=False),
                "length_ratio": measured(1.19 - 0.13 * rl, 0.05, n),
            }
            rates = {mode: min(1.0, pair[rl] * worse / (1 + i % 2)) for mode, pair in MODES.items()}
            failing = {mode: measured(rate, 0.025, n, up=False) for mode, rate in rates.items()}
            failing["any"] = measured(sum(rates.values()) * 0.8, 0.04, n, up=False)
            length = Length(mean=14.8 - 1.6 * rl, p10=7, median=12, p90=24 - 4 * rl, reference_mean=12.2)
            arms[arm + suffix] = Arm(metrics=metrics, failure_modes=failing, length=length)
    return Results(
        dataset=f"builtin/docstrings: 2,400 pairs to train on, 240 to choose by, {n} to report on",
        arms=arms,
        stages={"ml": "sft", "rl": "ppo"},
        comparisons=_comparisons(arms, n, spread),
        reward_model={
            "irrelevant": RewardMode(n=120, accuracy=0.992, auroc=0.999),
            "shuffled": RewardMode(n=120, accuracy=0.967, auroc=0.995),
            "mined": RewardMode(n=96, accuracy=0.844, auroc=0.912),
            "swapped": RewardMode(n=64, accuracy=0.797, auroc=0.871, held_out=True),
            "all": RewardMode(n=400, accuracy=0.918, auroc=0.957),
        },
        baselines={
            "length_only": {
                mode: RewardMode(n=100, accuracy=0.52, auroc=value)
                for mode, value in (("irrelevant", 0.51), ("shuffled", 0.5), ("mined", 0.58), ("all", 0.53))
            }
        },
        selection=[Selection(stage="ppo", metric="la_rougeL", step=15, value=27.1)],
        timings={"sft": Timing(seconds=182.4, tokens=23_600, peak_memory_bytes=2_900_000_000)},
    )


def _comparisons(arms: dict[str, Arm], n: int, spread: float) -> list[Comparison]:
    pairs = [("rl_raw", "ml_raw"), ("rl_raw", "ml_post"), ("rl_post", "ml_post"), ("rl_raw@t1", "ml_raw@t1")]
    out = []
    for a, b in pairs:
        for metric in arms[a].metrics:
            diff = arms[a].metrics[metric].value - arms[b].metrics[metric].value
            half = spread if abs(diff) > 0.3 else 0.02
            p = 0.0004 if abs(diff) > 1.5 * half else 0.021 if abs(diff) > half else 0.44
            out.append(Comparison(a=a, b=b, metric=metric, difference=diff, low=diff - half, high=diff + half,
                                  p_value=p, n=n, higher_is_better=metric != "copy_rate"))  # fmt: skip
        diff = arms[a].failure_modes["any"].value - arms[b].failure_modes["any"].value
        out.append(Comparison(a=a, b=b, metric="failures/any", difference=diff, low=diff - 0.05, high=diff + 0.05,
                              p_value=0.0008, n=n, higher_is_better=False))  # fmt: skip
    return out


def generation_rows(prompts: int, *, seed: int = 0, words: int = 30) -> list[dict]:
    """Rows of `generations.jsonl`: row 1 tries to break the page, row 2 reads from right to left."""
    rng = random.Random(seed)
    rows = []
    for i in range(prompts):
        verb, thing, way = rng.choice(VERBS), rng.choice(THINGS), rng.choice(WAYS)
        reference = f"{verb} {thing} {way}."
        body = " ".join(f"{rng.choice(VERBS)} {rng.choice(THINGS)} {rng.choice(WAYS)};" for _ in range(words // 6))
        prompt = f"Summarise the function's description in one line.\n\nIt is called when {thing} is there. {body}"
        for suffix in ("", "@t1"):
            plain = f"{rng.choice(VERBS)} {thing} and {rng.choice(THINGS)} {way}"
            better = f"{verb} {thing} {rng.choice(WAYS)}."
            ended = rng.random() > 0.15
            texts = {
                "ml_raw": f"{plain}." if ended else f"{plain}, then {plain.lower()}, then {plain.lower()}",
                "ml_post": f"{plain}.",
                "rl_raw": better,
                "rl_post": better,
            }
            if i == 1:
                texts["rl_raw"] = EVIL
            if i == 2:
                texts["ml_raw"], texts["rl_raw"] = RIGHT_TO_LEFT, RIGHT_TO_LEFT[:24]
            for arm, text in texts.items():
                rows.append({
                    "id": f"test-{i:04d}", "arm": arm + suffix, "prompt": prompt, "references": [reference],
                    "source": body, "text": text, "terminated": ended or arm != "ml_raw",
                    "tokens": max(2, len(text) // 5), "reward": round(rng.gauss(0.5 + arm.startswith("rl"), 0.8), 3),
                })  # fmt: skip
    return rows


def write_run(path: Path, *, prompts: int = 24, until: str = "report", seed: int = 0, gain: float = 2.3,
              words: int = 30) -> RunFolder:  # fmt: skip
    """A run that got as far as the stage `until`: sft, negatives, reward, ppo, evaluate or report."""
    run = RunFolder(path)
    run.path.mkdir(parents=True, exist_ok=True)
    run.recipe.write_text(
        "model_name_or_path: builtin/smollm2-135m\ndataset: {name: builtin/docstrings}\nseed: 0\nstages:\n"
        "  - sft: {learning_rate: 5.0e-4, num_train_epochs: 2}\n  - negatives: {}\n  - reward: {kind: classifier}\n"
        "  - ppo: {kl_coef: 0.05}\n  - evaluate: {}\n  - report: {}\n"
    )
    Environment(
        versions={"homestretch": "0.1.0", "python": "3.11.9", "torch": "2.13.0", "transformers": "5.23.0"},
        hardware={"device": "cpu", "cores": 2, "memory_bytes": 8_375_186_227}, seeds={"seed": seed},
        command=["homestretch", "quickstart"],
    ).write(run.environment)  # fmt: skip
    names = ["sft", "negatives", "reward", "ppo", "evaluate", "report"]
    cost = {"sft": (182.4, 23_600), "negatives": (3.1, None), "reward": (95.2, 41_000), "ppo": (301.0, 88_000),
            "evaluate": (58.7, 30_500), "report": (2.2, None)}  # fmt: skip
    for i, name in enumerate(names[: names.index(until) + 1], 1):
        folder = run.stage(i, name)
        seconds, tokens = cost[name]
        StageRecord(name=name, status="done", inputs={"recipe": "0f1e"}, seconds=seconds, tokens=tokens,
                    peak_memory_bytes=2_900_000_000 if tokens else None).write(folder.record)  # fmt: skip
        rows = _metric_rows(name, random.Random(seed + i))
        if rows:
            folder.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    if names.index(until) >= names.index("evaluate"):
        make_results(gain=gain).write(run.results)
        rows = generation_rows(prompts, seed=seed, words=words)
        run.generations.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


def _metric_rows(stage: str, rng: random.Random) -> list[dict]:
    if stage == "sft":
        rows = [
            {
                "step": s,
                "seconds": 1.5 * s,
                "loss": 1.4 + 2.2 / (1 + 0.1 * s) + rng.gauss(0, 0.06),
                "grad_norm": 0.8 + rng.random(),
                "learning_rate": 5e-4 * (1 - s / 120),
            }
            for s in range(1, 121)
        ]
        return rows + [{"step": s, "eval/loss": 1.6 + 1.6 / (1 + 0.1 * s), "eval/la_rougeL": 24 - 40 / (s + 3)}
                       for s in (30, 60, 90, 120)]  # fmt: skip
    if stage == "reward":
        return [{"step": s, "loss": 0.69 / (1 + 0.03 * s) + rng.gauss(0, 0.02), "accuracy": 1 - 0.5 / (1 + 0.06 * s)}
                for s in range(1, 61)]  # fmt: skip
    if stage != "ppo":
        return []
    rows: list[dict] = [
        {"step": s, "seconds": 14.0 * s, "reward": 0.3 + 0.05 * s + rng.gauss(0, 0.05), "kl": 0.03 * s,
         "entropy": 1.3 - 0.02 * s, "length": 15 - 0.1 * s + rng.gauss(0, 0.4), "clip_share": 0.05 + 0.01 * s,
         "policy_loss": rng.gauss(-0.02, 0.01), "value_loss": 0.6 / (1 + 0.2 * s), "explained_variance": s / (1 + s),
         "terminated": min(1.0, 0.86 + 0.01 * s), "learning_rate": 1e-4} for s in range(1, 21)
    ]  # fmt: skip
    rows += [{"step": s, "eval/la_rougeL": v, "eval/reward": 0.3 + 0.05 * s}
             for s, v in ((0, 24.2), (5, 25.4), (10, 26.5), (15, 27.1), (20, 26.2))]  # fmt: skip
    return [*rows, {"step": 20, "doctor": "The reward rose from 1.05 to 1.30 while la_rougeL fell from 27.1 to 26.2: "
                                          "raise kl_coef or stop at step 15."}]  # fmt: skip

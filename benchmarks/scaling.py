"""How time and memory grow, and how near the cost model comes to the memory that is measured.

    python benchmarks/scaling.py            curves and memory; --save keeps the numbers for docs/scaling.md
    python benchmarks/scaling.py --plan     what a round of PPO would take on 1 to 1,024 GPUs; measures nothing

Curves: seconds of a step (or round) and peak memory against the rows of a batch, their length, the rank of LoRA,
samples of a prompt and prompts of a round, each with the exponent b of y ~ x^b by least squares on logarithms: 1 where
it is proportional, 0 where it does not matter. Two processes under `accelerate launch` take the step of one. `ratio` is
predicted / measured peak memory, the median over tokens of a pass with LoRA and with all weights. SmolLM2-135M in
float32; with --quick a Llama of four layers with random weights. Curves have a process each, their points run from the
smallest to the largest.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import scaling_plan
from harness import WORKERS, arguments, finish, ratio_of

HERE = Path(__file__).parent
RECIPE = HERE / "recipes" / "scaling.yaml"
LAUNCH = HERE.parent / "launch" / "cpus.yaml"
SAVED = HERE / "results" / "scaling.json"
ROWS, BITS = 40, 6
QUICK_MODEL = {
    "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 2048, "tie_word_embeddings": True,
}  # fmt: skip
QUICK_WORDS = 1000


@dataclass(frozen=True)
class Curve:
    """Runs of one stage that differ in `values` of `setting`: tokens of each prompt where that is `length`, prompts of
    a round with as many samples each where it is `prompts`."""

    name: str
    setting: str
    values: tuple[int, ...]
    stage: str = "sft"
    common: dict[str, Any] = field(default_factory=dict)
    predict: bool = False


def curves(steps: int) -> list[Curve]:
    """What is measured; `steps` rounds of each point, the first not counted."""
    grid = {"train_batch_size": 16, "max_steps": 2}
    return [
        Curve("rows of a batch", "train_batch_size", (2, 4, 8), common={"max_steps": steps}),
        Curve("tokens of a prompt", "length", (64, 128, 256), common={"max_steps": steps, "train_batch_size": 4}),
        Curve("rank of LoRA", "lora_r", (4, 16, 64), common={"max_steps": steps, "train_batch_size": 4}),
        Curve("samples of a prompt", "num_generations", (2, 4, 8), "rloo", {"max_steps": steps, "prompts": 2}),
        Curve("prompts of a round", "prompts", (2, 4, 8), "rloo", {"max_steps": steps, "num_generations": 2}),
        Curve("LoRA, tokens of a pass", "micro_batch_tokens", (256, 512, 1024), common=grid, predict=True),
        Curve("all weights, tokens of a pass", "micro_batch_tokens", (256, 512, 1024),
              common=grid | {"use_peft": False}, predict=True),
    ]  # fmt: skip


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """b of y ~ x^b, by least squares on logarithms."""
    log_x, log_y = [math.log(v) for v in x], [math.log(v) for v in y]
    return statistics.linear_regression(log_x, log_y).slope


def overrides(curve: Curve, value: int, data: Path, model: Path | None) -> list[str]:
    """A point's settings of the recipe."""
    chosen = curve.common | {curve.setting: value}
    length = chosen.pop("length", 64)
    common = {"eval_steps": 1000, "eval_examples": 1, "lr_scheduler_type": "constant", "warmup_steps": 0, "bf16": False}
    if curve.stage == "rloo":
        size = chosen.pop("prompts") * chosen["num_generations"]
        common |= {"rollout_batch_size": size, "train_batch_size": size, "rewards": {"overlap": 1.0}, "doctor": "off"}
    named = [f"model_name_or_path={model}"] if model else []
    limits = ["dataset.max_completion_length=32"]
    stages = json.dumps([{curve.stage: common | chosen}])
    return [*named, *limits, f"dataset.name={data / f'{length}.jsonl'}", f"stages={stages}"]


def write_data(folder: Path) -> None:
    """Rows whose prompts have so many tokens, no two alike; answers have 31 and an end."""
    for length in (64, 128, 256):
        heads = [["a" if number >> bit & 1 else "the" for bit in range(BITS)] for number in range(ROWS)]
        rows = [{"prompt": " ".join(head + ["the"] * (length - BITS)), "completion": " the" * 31} for head in heads]
        (folder / f"{length}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def quick_model(folder: Path) -> Path:
    """A Llama of a few million random weights, with a token for each word."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    special = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
    words = [*special.values(), "the", "a", *(f"w{i}" for i in range(QUICK_WORDS - 6))]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    config = LlamaConfig(vocab_size=len(words), pad_token_id=0, eos_token_id=1, bos_token_id=2, **QUICK_MODEL)
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    PreTrainedTokenizerFast(tokenizer_object=inner, **special).save_pretrained(folder / "model")
    return folder / "model"


def points(folder: Path, settings: list[list[str]], *, predict: bool = False, ranks: int = 1) -> list[dict[str, float]]:
    """Seconds, peak and what was predicted of each point, all in one process, or in as many as `ranks`."""
    with tempfile.TemporaryDirectory(dir=folder) as runs:
        task, out = Path(runs) / "task.json", Path(runs) / "out.json"
        task.write_text(json.dumps({"recipe": str(RECIPE), "points": settings, "predict": predict}))
        launch = ["-m", "accelerate.commands.launch", "--config_file", str(LAUNCH)] if ranks > 1 else []
        command = [sys.executable, *launch, str(WORKERS / "scaling_points.py"), str(task), str(out)]
        # Each process takes its share of the cores by itself.
        environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"} | {"SCALING_RUNS": runs}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
        return json.loads(out.read_text())


def grown(curve: Curve, found: list[dict[str, float]]) -> dict[str, Any]:
    """Print a curve, and give what its JSON object holds."""
    seconds, peaks = ([point[key] for point in found] for key in ("seconds", "peak"))
    print(f"\n{curve.name} ({curve.stage})")
    for value, time, peak in zip(curve.values, seconds, peaks, strict=True):
        print(f"  {value:6d} {time:10.3f} s {peak / 1e9:10.3f} GB")
    by = {"time": exponent(curve.values, seconds), "memory": exponent(curve.values, peaks)}
    print(f"  exponent: time {by['time']:.2f}, memory {by['memory']:.2f}", flush=True)
    made = {"values": list(curve.values), "seconds": seconds, "peak_bytes": peaks, "exponents": by}
    return {"case": curve.name, "stage": curve.stage, **made}


def checked(
    name: str, keys: tuple[str, str], unit: float, grid: list[tuple[Curve, list[dict[str, float]]]]
) -> dict[str, Any]:
    """Print what was predicted and measured under two `keys` of the points, and give what the JSON object holds."""
    print(f"\n{name}: predicted, measured, ratio")
    rows = [
        {"case": curve.name, "value": value, "predicted": point[keys[0]], "measured": point[keys[1]]}
        for curve, found in grid
        for value, point in zip(curve.values, found, strict=True)
    ]
    for row in rows:
        sizes = f"{row['predicted'] / unit:8.2f} {row['measured'] / unit:8.2f}"
        print(f"  {row['case']:30s} {row['value']:6d} {sizes} {row['predicted'] / row['measured']:6.2f}")
    found = ratio_of([row["predicted"] for row in rows], [row["measured"] for row in rows])
    print(f"  ratio {found['ratio']:.2f} ({found['low']:.2f} to {found['high']:.2f})", flush=True)
    return {"case": name, **found, "peer": "cost model", "unit": "predicted / measured", "points": rows}


def processes(folder: Path, settings: list[str], rounds: int) -> dict[str, Any]:
    """One process against two, in turn."""
    both: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for _ in range(rounds):
        for ranks, found in both.items():
            found += points(folder, [settings], ranks=ranks)
    seconds = {ranks: [point["seconds"] for point in found] for ranks, found in both.items()}
    found = ratio_of(seconds[1], seconds[2])
    peaks = {ranks: max(point["peak"] for point in found) for ranks, found in both.items()}
    print("\nprocesses on the same cores, the same step")
    for ranks in both:
        print(f"  {ranks:6d} {statistics.median(seconds[ranks]):10.3f} s {peaks[ranks] / 1e9:10.3f} GB in the first")
    print(f"  two are {found['ratio']:.2f} times as fast ({found['low']:.2f} to {found['high']:.2f})", flush=True)
    return {"case": "two processes", **found, "peer": "one process", "seconds": seconds, "peak_bytes": peaks}


def main() -> None:
    """Measure and print, or plan."""
    parser = arguments(__doc__, rounds=2)
    parser.add_argument("--plan", action="store_true", help="print the plan and measure nothing")
    parser.add_argument("--save", action="store_true", help=f"keep the last line in {SAVED.relative_to(HERE.parent)}")
    scaling_plan.add_arguments(parser)
    args = parser.parse_args()
    if args.plan:
        print(scaling_plan.plan(args))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder)
        model = quick_model(folder) if args.quick else None
        grid, cases, steps = [], [], 2 if args.quick else 1 + args.rounds
        for curve in curves(steps):
            if args.quick:
                curve = replace(curve, values=(curve.values[0], curve.values[-1]))
            settings = [overrides(curve, value, folder, model) for value in curve.values]
            found = points(folder, settings, predict=curve.predict)
            if curve.predict:
                grid.append((curve, found))
            cases.append(grown(curve, found))
        step = Curve("", "train_batch_size", (8,), common={"max_steps": steps})
        cases.append(processes(folder, overrides(step, 8, folder, model), 1 if args.quick else args.rounds))
        memory = checked("peak memory, GB", ("predicted", "peak"), 1e9, grid)
        memory["model"] = "Llama with random weights" if args.quick else "SmolLM2-135M"
        cases.append(checked("time of a step, s", ("predicted_seconds", "seconds"), 1.0, grid))
        finish("scaling", [memory, *cases], save=SAVED if args.save else None)


if __name__ == "__main__":
    main()

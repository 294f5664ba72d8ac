"""What methods that learn from stored responses cost beside supervised fine-tuning: rates and peak memory of our own.

    python benchmarks/offline.py --data ../shared/data/hh_helpful

SmolLM2-135M with LoRA, batches of 8 responses (DPO: of 8 pairs), the same rows in the same order. A-LoL and DPO have
the reference's log-probabilities before the clock starts; A-LoL is timed in the form whose weight is the reward, and
whose steps cost what those of the other forms with a reference do. Tokens are real ones, prompts included. Ratios are
to SFT, with goals of 0.9 (A-LoL, tokens), 0.65 (IFT, tokens) and 0.45 (DPO, pairs against sequences); the memory of
A-LoL and IFT should stay within a tenth of SFT's. Rounds of all ways alternate, each a process of its own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from harness import Worker, arguments, finish, interleaved, result

RECIPE = Path(__file__).parent / "recipes" / "offline.yaml"
BATCH = 8
REWARDS = {"helpful": {"column": "reward_logits.0", "sigmoid": True}}
METHODS: dict[str, dict[str, Any]] = {
    "sft": {},
    "alol": {"variant": "r_lol", "sampling": "uniform", "rewards": REWARDS},
    "ift": {},
    "dpo": {},
}
CASES = {"A-LoL": ("alol", "tokens/s", 0.9), "IFT": ("ift", "tokens/s", 0.65), "DPO": ("dpo", "sequences/s", 0.45)}
"""Method, unit (a pair counts one sequence) and the least ratio that is wanted."""


def worker(method: str, unit: str, data: Path, steps: int, lengths: list[str]) -> Worker:
    """A method in a process of its own; its rate is in tokens or in rows of a batch."""
    common = {"train_batch_size": BATCH, "max_steps": steps, "eval_steps": 1000, "eval_examples": 1, "bf16": False}
    stages = json.dumps([{method: common | {"lr_scheduler_type": "constant", "warmup_steps": 0} | METHODS[method]}])
    settings = [f"dataset.name={data}", f"dataset.max_train={BATCH * steps}", f"stages={stages}", *lengths]
    count = ["num_tokens"] if unit == "tokens/s" else ["step"]
    each = [] if unit == "tokens/s" else ["--each", str(BATCH)]
    return Worker(sys.executable, "ours.py", method, *count, str(RECIPE), *settings, *each)


def main() -> None:
    """Time and print."""
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/hh_helpful"))
    parser.add_argument("--steps", type=int, default=8, help="optimiser steps of a round, the first not counted")
    args = parser.parse_args()
    rounds, steps = (1, 2) if args.quick else (args.rounds, args.steps)
    ways = {f"SFT, {unit}": ("sft", unit) for unit in ("tokens/s", "sequences/s")}
    ways |= {name: (method, unit) for name, (method, unit, _) in CASES.items()}
    lengths = ["dataset.max_prompt_length=40", "dataset.max_completion_length=24"] if args.quick else []
    workers = {name: worker(method, unit, args.data, steps, lengths) for name, (method, unit) in ways.items()}
    rates = interleaved(workers, rounds=rounds, warm_up=0)
    cases = []
    for name, (_, unit, goal) in CASES.items():
        peer = f"SFT, {unit}"
        memory = {way: workers[way].peak_bytes for way in (name, peer)}
        ratio = memory[name] / memory[peer]
        print(
            f"\npeak memory: {memory[name] / 1e9:.2f} GB against {memory[peer] / 1e9:.2f} GB; ratio wanted: {goal:g}",
            end="",
        )
        measured = {way: rates[way] for way in (name, peer)}
        more = {"goal": goal, "peak_bytes": memory, "memory_ratio": ratio}
        cases.append(result(name, unit, measured, ours=name, peer=peer, **more))
    finish("offline", cases)


if __name__ == "__main__":
    main()

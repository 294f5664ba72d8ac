"""Pairs a second and peak memory of direct preference optimisation: homestretch against TRL's DPOTrainer.

    python benchmarks/dpo.py --data ../shared/data/scitldr

Batches of 8 pairs, SmolLM2-135M, LoRA of rank 16 on all linear layers. The pairs are made here and are the same for
both: the reference of an abstract is better than that of the next one. Both score the reference model once, before
their first step (TRL by `precompute_ref_log_probs`); that time is not counted. Time runs from the end of the first step
to the end of the last. Float32 is compared with float32; `bf16` is both under mixed precision, where the machine has
it. Each round of a way is a process of its own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from harness import Worker, against_trl, arguments, environment, finish, precisions

from homestretch.policies.builtin import smollm2

HERE = Path(__file__).parent
PAIRS = HERE.parent / ".bench" / "dpo-pairs.jsonl"
BATCH = 8
SPARE = 1.5
"""Rows for each pair that is learnt from: some are split off, and both score all of them before the clock starts."""


def paired(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Each prompt with its completion as the better and the next prompt's as the worse response."""
    following = [*rows[1:], rows[0]]
    return [
        {"prompt": row["prompt"], "chosen": row["completion"], "rejected": other["completion"]}
        for row, other in zip(rows, following, strict=True)
        if row["completion"] != other["completion"]
    ]


def write_pairs(data: Path, count: int) -> Path:
    """The pairs of the first `count` rows of `data`, as JSONL."""
    lines = (data / "train.jsonl").read_text(encoding="utf-8").splitlines()[:count]
    PAIRS.parent.mkdir(exist_ok=True)
    PAIRS.write_text("".join(json.dumps(row) + "\n" for row in paired([json.loads(line) for line in lines])))
    return PAIRS


def ours(pairs: Path, steps: int, precision: str) -> Worker:
    """The stage `dpo`; a unit of its log is a step of 8 pairs."""
    settings = [f"dataset.name={pairs}", f"dpo.max_steps={steps}", f"dpo.bf16={precision == 'bf16'}"]
    recipe = str(HERE / "recipes" / "dpo.yaml")
    return Worker(sys.executable, "ours.py", "dpo", "step", recipe, *settings, "--each", str(BATCH))


def main() -> None:
    """Time and print."""
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/scitldr"))
    parser.add_argument("--steps", type=int, default=6, help="optimiser steps of a round, the first not counted")
    args = parser.parse_args()
    rounds, steps = (1, 3) if args.quick else (args.rounds, args.steps)
    trl, pairs, cases = environment("trl"), write_pairs(args.data, int(SPARE * BATCH * steps)), []
    for precision in precisions():
        mine = ours(pairs, steps, precision)
        switches = ["--bf16"] if precision == "bf16" else []
        sizes = ["--steps", str(steps), "--batch", str(BATCH)]
        peer = Worker(trl, "trl_dpo.py", str(smollm2()), str(pairs), *sizes, *switches)
        cases += against_trl("pairs/s", {f"lora, {precision}": mine}, peer, rounds=rounds)
    finish("dpo", cases)


if __name__ == "__main__":
    main()

"""Tokens a second and peak memory of supervised fine-tuning on SciTLDR: homestretch against TRL's SFTTrainer.

    python benchmarks/sft.py --data ../shared/data/scitldr

Batches of 8 rows, SmolLM2-135M, LoRA of rank 16 on all linear layers and full fine-tuning. Tokens are real ones,
prompts included, by each trainer's own count, from the end of the first step to the end of the last. Float32 is
compared with float32; `bf16` is both under mixed precision, where the machine has it. Each round of a way is a process
of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness import Worker, against_trl, arguments, environment, finish, precisions

from homestretch.policies.builtin import smollm2

HERE = Path(__file__).parent


def main() -> None:
    """Time and print."""
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/scitldr"))
    parser.add_argument("--steps", type=int, default=6, help="optimiser steps of a round, the first not counted")
    args = parser.parse_args()
    rounds, steps = (1, 3) if args.quick else (args.rounds, args.steps)
    trl, model, cases = environment("trl"), smollm2(), []
    for kind, precision in [("lora", "float32"), ("full", "float32"), *(("lora", p) for p in precisions()[1:])]:
        ours = Worker(
            sys.executable, "ours.py", "sft", "num_tokens", str(HERE / "recipes" / "sft.yaml"),
            f"dataset.name={args.data}", f"sft.max_steps={steps}", f"sft.use_peft={kind == 'lora'}",
            f"sft.bf16={precision == 'bf16'}",
        )  # fmt: skip
        switches = [s for s, on in (("--full", kind == "full"), ("--bf16", precision == "bf16")) if on]
        peer = Worker(trl, "trl_sft.py", str(model), str(args.data / "train.jsonl"), "--steps", str(steps), *switches)
        cases += against_trl("tokens/s", {f"{kind}, {precision}": ours}, peer, rounds=rounds)
    finish("sft", cases)


if __name__ == "__main__":
    main()

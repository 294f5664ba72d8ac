"""Samples a second and peak memory of leave-one-out policy gradient: homestretch against TRL's RLOOTrainer.

    python benchmarks/rloo.py --data ../shared/data/scitldr

SmolLM2-135M with LoRA, updates of 32 samples, four of a prompt, of at most 48 tokens, one pass over each, float32. No
model gives the reward: homestretch compares samples with their references (ROUGE-L), which costs more than what TRL's
side pays for, their length, and little beside decoding. Time runs from the end of the first update to the end of the
last. Each round of a way is a process of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness import Worker, against_trl, arguments, environment, finish

from homestretch.policies.builtin import smollm2

RECIPE = Path(__file__).parent / "recipes" / "rloo.yaml"


def ours(data: Path, steps: int) -> Worker:
    """The stage `rloo`; a unit of its log is a step of 32 samples."""
    settings = [f"dataset.name={data}", f"rloo.max_steps={steps}", "rloo.bf16=false"]
    return Worker(sys.executable, "ours.py", "rloo", "step", str(RECIPE), *settings, "--each", "32")


def main() -> None:
    """Time and print."""
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/scitldr"))
    parser.add_argument("--steps", type=int, default=4, help="updates of a round, the first not counted")
    args = parser.parse_args()
    rounds, steps = (1, 2) if args.quick else (args.rounds, args.steps)
    mine = ours(args.data, steps)
    data = str(args.data / "train.jsonl")
    peer = Worker(environment("trl"), "trl_rloo.py", str(smollm2()), data, "--steps", str(steps))
    finish("rloo", against_trl("samples/s", {"four samples a prompt": mine}, peer, rounds=rounds))


if __name__ == "__main__":
    main()

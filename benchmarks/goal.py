"""What a goal-conditioned reward model costs: its contrastive term in training, and steering in sampling.

    python benchmarks/goal.py --data ../shared/data/hh_helpful

SmolLM2-135M. Training: a pairwise reward model with LoRA, batches of 8 pairs, the same rows in the same order, with the
contrastive term (16 states of each kind) and without it, rounds in processes of their own; a step should cost at most a
tenth more, a ratio of 0.91. Sampling: a second model of the same size weighs the 8 likeliest tokens at every step;
sampling with it should take at most 2.5 times as long as without, a ratio of 0.4. Tokens are new ones.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from harness import Worker, arguments, finish, interleaved, result

from homestretch import Policy, load_trunk
from homestretch.generation.engine import generate
from homestretch.generation.sampling import SamplingConfig
from homestretch.generation.steering import Steering
from homestretch.policies.precision import autocast
from homestretch.training.context import set_threads

MODEL = "builtin/smollm2-135m"
RECIPE = Path(__file__).parent / "recipes" / "offline.yaml"
BATCH = 8
TERM, STEERED = 0.91, 0.4
"""The least ratios that are wanted."""


def trained(data: Path, steps: int, lengths: list[str], **more: Any) -> Worker:
    """Training of a reward model in a process of its own, in pairs a second."""
    common = {"kind": "pairwise", "train_batch_size": BATCH, "max_steps": steps, "eval_steps": 1000, "eval_examples": 1}
    stages = json.dumps(["negatives", {"reward": common | {"bf16": False, "lr_scheduler_type": "constant"} | more}])
    settings = [f"dataset.name={data}", f"dataset.max_train={BATCH * steps}", f"stages={stages}", *lengths]
    return Worker(sys.executable, "ours.py", "reward", "step", str(RECIPE), *settings, "--each", str(BATCH))


def sampled(policy: Policy, prompts: list[list[int]], new: int, steering: Steering | None) -> Callable[[], float]:
    """Sampling, steered or not."""
    sampling = SamplingConfig(max_new_tokens=new)

    def way() -> float:
        started = time.perf_counter()
        made = generate(policy, prompts, eos_ids=[], sampling=sampling, max_rows=len(prompts), steering=steering)
        assert sum(len(s.ids) for (s,) in made) == len(prompts) * new
        return len(prompts) * new / (time.perf_counter() - started)

    return way


def policy() -> Policy:
    """The built-in model, with weights of its own, in the precision in which `generate` has it."""
    trunk = load_trunk(MODEL)
    trunk = trunk.to("cuda", torch.bfloat16) if torch.cuda.is_available() else trunk
    return Policy(trunk, None, budget=4096, autocast=autocast(trunk.device))


def main() -> None:
    """Time and print."""
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/hh_helpful"))
    parser.add_argument("--steps", type=int, default=8, help="optimiser steps of a round, the first not counted")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32], help="texts that are sampled at once")
    parser.add_argument("--prompt", type=int, default=64, help="tokens of each prompt")
    parser.add_argument("--new", type=int, default=64, help="tokens of each completion")
    args = parser.parse_args()
    set_threads()
    rounds, steps, new = (1, 2, 8) if args.quick else (args.rounds, args.steps, args.new)
    lengths = ["dataset.max_prompt_length=40", "dataset.max_completion_length=24"] if args.quick else []
    with_, without = "with the term", "without"
    workers = {with_: trained(args.data, steps, lengths, contrast={}), without: trained(args.data, steps, lengths)}
    rates = interleaved(workers, rounds=rounds, warm_up=0)
    memory = {name: worker.peak_bytes for name, worker in workers.items()}
    case = "reward model, contrastive term"
    cases = [result(case, "pairs/s", rates, ours=with_, peer=without, goal=TERM, peak_bytes=memory)]

    writer, reader = policy(), policy()
    goal_GD = torch.randn(1, reader.trunk.lm.config.hidden_size, device=reader.device)
    steering = Steering(reader, goal_GD, torch.ones(1))
    for batch in args.batch:
        draw = torch.Generator().manual_seed(0)
        prompts = torch.randint(100, 40_000, (batch, args.prompt), generator=draw).tolist()
        ways = {
            "steered": sampled(writer, prompts, new, steering),
            "not steered": sampled(writer, prompts, new, None),
        }
        case = f"sampling, batch {batch}, prompts of {args.prompt}, {new} new tokens"
        rates = interleaved(ways, rounds=rounds)
        cases.append(result(case, "tokens/s", rates, ours="steered", peer="not steered", goal=STEERED))
    finish("goal", cases)


if __name__ == "__main__":
    main()

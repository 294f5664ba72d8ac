"""Samples a second and peak memory of PPO with a reward model: homestretch against the last PPOTrainer of TRL (1.12).

    python benchmarks/ppo.py --data ../shared/data/scitldr

SmolLM2-135M with LoRA, a reward model of that size, updates of 32 samples of at most 48 tokens, one pass over each,
float32. The first case is like for like: one sample a prompt. In the second homestretch draws eight of each, as it
does unless told otherwise. TRL passes four samples at a time: eight need more than 24 GB. Time runs from the end of the
first update to the end of the last; homestretch's reward model is made before. Each round of a way is a process of its
own.
"""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path

from harness import Worker, against_trl, arguments, environment, finish

from homestretch import load_recipe
from homestretch.policies.builtin import smollm2
from homestretch.training.pipeline import run_recipe

HERE = Path(__file__).parent
RECIPE = HERE / "recipes" / "ppo.yaml"
START = HERE.parent / ".bench" / "ppo-start"


def prepare(overrides: list[str]) -> None:
    """Run the stages before PPO."""
    recipe = load_recipe(RECIPE, overrides)
    stages = [stage for stage in recipe.stages if stage.name != "ppo"]
    run_recipe(recipe.model_copy(update={"stages": tuple(stages)}), START)


def main() -> None:
    """Time and print."""
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/scitldr"))
    parser.add_argument("--steps", type=int, default=4, help="updates of a round, the first not counted")
    args = parser.parse_args()
    rounds, steps = (1, 2) if args.quick else (args.rounds, args.steps)
    data = f"dataset.name={args.data}"
    trl = environment("trl-ppo")
    # A process of its own gives its memory back, which TRL's needs.
    before = multiprocessing.get_context("spawn").Process(target=prepare, args=([data],))
    before.start()
    before.join()
    if before.exitcode:
        sys.exit("The stages before PPO failed; what they said is above.")
    each = {
        "one sample a prompt": [],
        "eight samples a prompt": ["ppo.num_generations=8", "ppo.reward_baseline=prompt"],
    }
    ours = {}
    for case, overrides in each.items():
        settings = [data, f"ppo.max_steps={steps}", "ppo.bf16=false", *overrides]
        sizes = ["--each", "32", "--start", str(START)]
        ours[case] = Worker(sys.executable, "ours.py", "ppo", "step", str(RECIPE), *settings, *sizes)
    peer = Worker(trl, "trl_ppo.py", str(smollm2()), str(args.data / "train.jsonl"), "--steps", str(steps))
    finish("ppo", against_trl("samples/s", ours, peer, rounds=rounds))


if __name__ == "__main__":
    main()

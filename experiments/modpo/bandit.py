"""MODPO on a bandit whose optimum has a closed form: softmax(ln p_ref + w . r / beta).

    python experiments/modpo/bandit.py [--quick]

The policy is a table over enumerable outputs, and the loss its expectation over all ordered pairs, each as likely as
Bradley and Terry say by the first reward. The last line is one JSON object; `max_total_variation` is the largest
distance from the closed form over weights, two and three objectives, and seeds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from homestretch.algorithms.modpo import modpo_loss

WEIGHTS = {
    2: [(w, round(1 - w, 1)) for w in (0.1, 0.3, 0.5, 0.7, 0.9)],
    3: [(0.2, 0.5, 0.3), (0.5, 0.25, 0.25), (0.8, 0.1, 0.1)],
}
BETA = 0.5


@dataclass(frozen=True)
class Problem:
    """`start` (Y,) is the reference, `reward_OY` what each objective gives to each output; pairs are ordered by the
    first."""

    start: Tensor
    reward_OY: Tensor
    beta: float = BETA


def problem(*, outputs: int, objectives: int, seed: int) -> Problem:
    """Normal rewards and a reference of normal logits, float64."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(objectives + 1, outputs, generator=generator, dtype=torch.float64)
    return Problem(drawn[0].softmax(0), drawn[1:])


def optimum(made: Problem, weights: Sequence[float]) -> Tensor:
    """The policy (Y,) that the weights ask for, in closed form."""
    earned_Y = made.reward_OY.new_tensor(weights) @ made.reward_OY
    return (made.start.log() + earned_Y / made.beta).softmax(0)


def trained(made: Problem, weights: Sequence[float], *, steps: int = 400) -> Tensor:
    """The policy (Y,) that MODPO ends at."""
    chosen_N, rejected_N = torch.triu_indices(len(made.start), len(made.start), offset=1)
    chosen_N, rejected_N = torch.cat([chosen_N, rejected_N]), torch.cat([rejected_N, chosen_N])
    first_Y, ref_Y = made.reward_OY[0], made.start.log()
    often_N = (first_Y[chosen_N] - first_Y[rejected_N]).sigmoid()
    logits_Y = ref_Y.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([logits_Y], max_iter=steps, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        optimiser.zero_grad()
        logp_Y = logits_Y.log_softmax(0)
        terms_N = modpo_loss(
            logp_Y[chosen_N],
            logp_Y[rejected_N],
            ref_Y[chosen_N],
            ref_Y[rejected_N],
            made.reward_OY[1:, chosen_N].T,
            made.reward_OY[1:, rejected_N].T,
            beta=made.beta,
            weight=weights[0],
            reward_weights=weights[1:],
        )
        loss = (often_N * terms_N).mean()
        loss.backward()
        return loss

    optimiser.step(step)
    return logits_Y.detach().softmax(0)


def total_variation(a: Tensor, b: Tensor) -> float:
    """Half the sum of absolute differences, 0 to 1."""
    return float((a - b).abs().sum() / 2)


def main() -> None:
    """Train, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed and fewer outputs")
    args = parser.parse_args()
    outputs, seeds = (8, range(1)) if args.quick else (64, range(5))
    found: dict[str, float] = {}
    for objectives, choices in WEIGHTS.items():
        for weights in choices:
            problems = [problem(outputs=outputs, objectives=objectives, seed=seed) for seed in seeds]
            far = max(total_variation(trained(made, weights), optimum(made, weights)) for made in problems)
            found[" ".join(f"{weight:g}" for weight in weights)] = far
            print(f"weights {weights}: total variation at most {far:.1e} over {len(problems)} problems")
    line = {"name": "modpo_bandit", "outputs": outputs, "seeds": len(seeds), "total_variation": found}
    print(json.dumps(line | {"max_total_variation": max(found.values())}))


if __name__ == "__main__":
    main()

"""Frozen Lake: how far fine-tuned policies are from one that was taught the best action everywhere. Exploratory.

    pip install -r experiments/ift/requirements.txt
    python experiments/ift/frozen_lake.py --seeds 10
    python experiments/ift/frozen_lake.py --quick

Gymnasium's environment, not slippery, on a grid with one best path (4 moves) and one other (8 moves). A network of two
layers (16-64-4, ReLU) reads a one-hot cell. SFT and IFT learn the best path, DPO that the best path is better than the
other. The distance is the mean squared error between the transition matrices, over the cells where the game goes on,
of the network and of one trained on the best actions of every cell. A prediction of IFT is the cell to which the
greedy action of the cell before leads. The paper gives neither grid nor settings; these are ours. ORPO is left out.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gymnasium
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from homestretch.algorithms.dpo import dpo_loss
from homestretch.algorithms.ift import ift_inputs, ift_loss, ift_weights
from homestretch.algorithms.sft import nll_loss
from homestretch.metrics.stats import bootstrap_mean, paired_bootstrap

GRID = ["SFFF", "FHHF", "FHHF", "FGFF"]
DOWN, RIGHT, LEFT = 1, 2, 0
BEST = [DOWN, DOWN, DOWN, RIGHT]
OTHER = [RIGHT, RIGHT, RIGHT, DOWN, DOWN, DOWN, LEFT, LEFT]
LAM, GAMMA, BETA, RATE, HIDDEN = 0.2, 0.95, 0.1, 1e-3, 64
SCENARIOS = {"from random weights": (0, 20), "after training on both paths": (200, 100)}
"""Steps of training on both paths before, and steps of the method."""
REFERENCE_STEPS, TAUGHT_SEEDS = 1000, 10_000
COLOURS = {"sft": "#4c72b0", "ift": "#dd8452", "dpo": "#55a868"}


@dataclass(frozen=True)
class Lake:
    """The grid: `next_SA` (S, A) the cell an action leads to, `live_S` where the game goes on, `best_SA` (S, A) equal
    shares of the actions that begin a shortest way to the goal."""

    next_SA: Tensor
    live_S: Tensor
    best_SA: Tensor

    def path(self, actions: list[int]) -> tuple[Tensor, Tensor]:
        """Cells (T,) and actions (T,) of a path from the start; it must end on the goal."""
        cells = [0]
        for action in actions:
            cells.append(int(self.next_SA[cells[-1], action]))
        assert GRID[cells[-1] // 4][cells[-1] % 4] == "G"
        return torch.tensor(cells[:-1]), torch.tensor(actions)


def lake() -> Lake:
    """Read out of Gymnasium's environment."""
    table = gymnasium.make("FrozenLake-v1", desc=GRID, is_slippery=False).unwrapped.P
    next_SA = torch.tensor([[table[s][a][0][1] for a in range(4)] for s in range(16)])
    cells = "".join(GRID)
    live_S = torch.tensor([c in "SF" for c in cells])
    distance_S = torch.where(torch.tensor([c == "G" for c in cells]), 0.0, torch.inf)
    for _ in cells:
        distance_S = torch.where(live_S, 1 + distance_S[next_SA].min(1).values, distance_S)
    best_SA = (distance_S[next_SA] == distance_S[next_SA].min(1, keepdim=True).values).float()
    return Lake(next_SA, live_S, best_SA / best_SA.sum(1, keepdim=True))


def transitions(logits_SA: Tensor, world: Lake) -> Tensor:
    """Probabilities (S, S) of the next cell under the policy."""
    chances_SA = logits_SA.detach().softmax(1)
    return torch.zeros(16, 16).scatter_add_(1, world.next_SA, chances_SA)


def distance(net: nn.Module, reference_SS: Tensor, world: Lake) -> float:
    """Mean squared error of the network's transition matrix over rows of live cells."""
    error_SS = transitions(net(torch.eye(16)), world) - reference_SS
    return float(error_SS[world.live_S].square().mean())


def logp_of(net: nn.Module, inputs_TD: Tensor, actions_T: Tensor) -> Tensor:
    """Log-probabilities (1, T) of the actions of a path."""
    return net(inputs_TD).log_softmax(-1).gather(1, actions_T[:, None]).T


def one_hot(cells_T: Tensor) -> Tensor:
    """What the network reads, (T, 16)."""
    return torch.eye(16)[cells_T]


def sft(net: nn.Module, world: Lake, paths: tuple[list[int], ...] = (BEST,)) -> Tensor:
    """Mean over paths of mean token losses."""
    means = []
    for path in paths:
        cells_T, actions_T = world.path(path)
        means.append(nll_loss(logp_of(net, one_hot(cells_T), actions_T), torch.ones(1, len(path))).mean())
    return torch.stack(means).mean()


def ift(net: nn.Module, world: Lake) -> Tensor:
    """The authors' form with live weights. The start is given, every later cell is mixed."""
    cells_T, actions_T = world.path(BEST)
    own_TD = one_hot(cells_T)
    greedy_T = net(own_TD).argmax(1)
    reached_T = torch.cat([cells_T[:1], world.next_SA[cells_T, greedy_T][:-1]])
    mask_1T = (torch.arange(len(BEST)) > 0).long()[None]
    mixed_TD = ift_inputs(own_TD[None], one_hot(reached_T)[None], mask_1T, lam=LAM)[0]
    logp_1T, ones_1T = logp_of(net, mixed_TD, actions_T), torch.ones(1, len(BEST))
    return ift_loss(logp_1T, ift_weights(logp_1T, ones_1T, gamma=GAMMA, formula="authors"), ones_1T).mean()


def dpo(start: nn.Module, world: Lake) -> Callable[[nn.Module], Tensor]:
    """Its loss, with the network as it was as reference."""

    def sides(net: nn.Module) -> list[Tensor]:
        paths = (world.path(path) for path in (BEST, OTHER))
        return [logp_of(net, one_hot(cells_T), actions_T).sum(1) for cells_T, actions_T in paths]

    reference = [side.detach() for side in sides(start)]
    return lambda net: dpo_loss(*sides(net), *reference, beta=BETA, label_smoothing=0.0).mean()


def network(seed: int) -> nn.Sequential:
    """Two layers with weights drawn from the seed."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(16, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 4))


def train(
    net: nn.Module, loss: Callable[[nn.Module], Tensor], steps: int, watch: Callable[[], float] = lambda: 0.0
) -> list[float]:
    """RMSprop; what `watch` says before the first step and after each."""
    optimizer, seen = torch.optim.RMSprop(net.parameters(), lr=RATE), [watch()]
    for _ in range(steps):
        optimizer.zero_grad()
        loss(net).backward()
        optimizer.step()
        seen.append(watch())
    return seen


def taught(world: Lake, seed: int) -> Tensor:
    """Transitions (S, S) of a network that learned the best actions of every live cell."""
    net, best_NA = network(seed), world.best_SA[world.live_S]
    inputs_ND = torch.eye(16)[world.live_S]
    train(net, lambda net: cross_entropy(net(inputs_ND), best_NA), REFERENCE_STEPS)
    return transitions(net(torch.eye(16)), world)


def one_seed(world: Lake, seed: int, before: int, steps: int) -> dict[str, list[float]]:
    """Distances after each step of every method, all from the same start."""
    reference_SS = taught(world, TAUGHT_SEEDS + seed)
    start = network(seed)
    train(start, lambda net: sft(net, world, (BEST, OTHER)), before)
    losses = {"sft": lambda net: sft(net, world), "ift": lambda net: ift(net, world), "dpo": dpo(start, world)}
    found = {}
    for name, loss in losses.items():
        net = network(seed)
        net.load_state_dict(start.state_dict())
        found[name] = train(net, loss, steps, partial(distance, net, reference_SS, world))
    return found


def summary(runs: list[dict[str, list[float]]]) -> dict[str, dict[str, float]]:
    """Start, end and difference from SFT, means over seeds with 95 % bootstrap intervals."""
    ends = {name: [run[name][-1] for run in runs] for name in COLOURS}
    found = {"start": bootstrap_mean([run["sft"][0] for run in runs], seed=0)._asdict()}
    found |= {name: bootstrap_mean(values, seed=0)._asdict() for name, values in ends.items()}
    for name in ("ift", "dpo"):
        found[f"{name} - sft"] = paired_bootstrap(ends[name], ends["sft"], seed=0)._asdict()
    return found


def draw(found: dict[str, list[dict[str, list[float]]]], file: Path) -> None:
    """Distance over steps, mean over seeds, with its 95 % interval."""
    matplotlib.rcParams["svg.hashsalt"] = "frozen lake"
    figure, axes = plt.subplots(1, len(found), figsize=(9, 3.2), sharey=True, layout="constrained")
    for axis, (title, runs) in zip(axes, found.items(), strict=True):
        for name, colour in COLOURS.items():
            spans = [bootstrap_mean(column, seed=0) for column in np.array([run[name] for run in runs]).T]
            steps = range(len(spans))
            axis.plot(steps, [s.value for s in spans], color=colour, label=name.upper())
            axis.fill_between(steps, [s.low for s in spans], [s.high for s in spans], color=colour, alpha=0.2, lw=0)
        axis.set(title=title, xlabel="steps")
    axes[0].set_ylabel("mean squared error")
    axes[0].legend(frameon=False)
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    """Train, draw and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="how many, from 0")
    parser.add_argument("--figure", type=Path, help="file to draw to, e.g. experiments/ift/frozen_lake.svg")
    parser.add_argument("--quick", action="store_true", help="two seeds")
    args = parser.parse_args()
    world, count = lake(), 2 if args.quick else args.seeds
    found = {name: [one_seed(world, s, *steps) for s in range(count)] for name, steps in SCENARIOS.items()}
    if args.figure:
        draw(found, args.figure)
    print(json.dumps({"seeds": count, "scenarios": {name: summary(runs) for name, runs in found.items()}}))


if __name__ == "__main__":
    main()

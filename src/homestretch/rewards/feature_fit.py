"""Fitting a reward of features to pairs by Bradley and Terry, and measuring how well it orders others.

L = (1/N) sum_n ln(1 + exp(phi(v-_n) - phi(v+_n))) + ridge |W|^2        (sheet 2.3)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count, takewhile

import torch
from torch import Tensor

from homestretch.config.features import FeaturesConfig
from homestretch.errors import DataError
from homestretch.ops.preference import pairwise_reward_loss
from homestretch.ordered import CurvePoint
from homestretch.rewards.features import FeatureNet, net_of
from homestretch.seeds import fold

CONSTANT = 1e-6
"""Outputs that spread less than this are one number."""
FEWEST = 25
"""Pairs at the first point of a learning curve; each further one has twice as many."""
ORDERS = 3
"""Orders of the pairs that a learning curve is the mean over."""

Sides = tuple[Tensor, Tensor]
"""Scaled features (N, F) of better and of worse texts."""


@dataclass(frozen=True)
class Fit:
    """How well scores order pairs. `accuracy` counts ties as wrong, `accuracy_ties_half` half; `nll` is the mean of
    ln(1 + exp(worse - better)), ln 2 for a constant."""

    accuracy: float
    accuracy_ties_half: float
    nll: float
    n: int


def measured(chosen_N: Tensor, rejected_N: Tensor) -> Fit:
    """`Fit` of the scores of better and worse texts."""
    right, tied = (chosen_N > rejected_N).float().mean(), (chosen_N == rejected_N).float().mean()
    nll = pairwise_reward_loss(chosen_N, rejected_N).mean()
    return Fit(float(right), float(right + tied / 2), float(nll), len(chosen_N))


def fitted(config: FeaturesConfig, chosen_NF: Tensor, rejected_NF: Tensor) -> tuple[FeatureNet, int]:
    """A net fitted to scaled features of N pairs, and how many starts ended dead before it (`is_dead`).

    Without an output activation phi is moved so that its mean over these texts is 0, which the loss does not see: its
    sigmoid is then the probability of being preferred to a typical text. Deterministic in `config.seed`.

    Raises DataError where features of both sides are the same in every pair, or where all `config.restarts` starts end
    dead.
    """
    if torch.equal(chosen_NF, rejected_NF):
        raise DataError("Better and worse texts have the same features in every pair; give features that differ.")
    for attempt in range(config.restarts):
        net = _trained(config, chosen_NF, rejected_NF, fold("features", config.seed, attempt))
        both_MF = torch.cat([chosen_NF, rejected_NF])
        if not is_dead(net, both_MF):
            return _centred(net, both_MF) if config.output_activation == "none" else net, attempt
    raise DataError(
        f"From {config.restarts} starts the net gave every text the same reward, or none that is finite; use "
        "output_activation=none, a smaller learning_rate, another seed, or hidden_sizes=[]."
    )


def learning_curve(
    config: FeaturesConfig, train: Sides, held_out: Sides, *, on_fit: Callable[[], None] = lambda: None
) -> list[CurvePoint]:
    """Fits to the first 25, 50, 100, ... and to all of the training pairs in several orders, each with a seed of its
    own, measured on the held-out ones. A fit that ends constant counts as a coin. `on_fit` is told of each."""
    n = len(train[0])
    orders = [
        torch.randperm(n, generator=torch.Generator().manual_seed(fold("curve", config.seed, i))) for i in range(ORDERS)
    ]
    points = []
    for size in curve_sizes(n):
        fits = []
        for i, order in enumerate(orders):
            seeded = config.model_copy(update={"seed": config.seed + i})
            fits.append(_fit_to(seeded, (train[0][order[:size]], train[1][order[:size]]), held_out))
            on_fit()
        points.append(CurvePoint(pairs=size, accuracy=[f.accuracy_ties_half for f in fits], nll=[f.nll for f in fits]))
    return points


def curve_sizes(n: int) -> list[int]:
    """Numbers of pairs along a learning curve over n of them."""
    return [*takewhile(lambda size: size < n, (FEWEST * 2**i for i in count())), n]


def _fit_to(config: FeaturesConfig, train: Sides, held_out: Sides) -> Fit:
    try:
        net, _ = fitted(config, *train)
    except DataError:
        nothing_N = torch.zeros(len(held_out[0]))
        return measured(nothing_N, nothing_N)
    with torch.no_grad():
        return measured(net(held_out[0]), net(held_out[1]))


@torch.no_grad()
def is_dead(net: FeatureNet, scaled_NF: Tensor) -> bool:
    """Whether the net says the same of all of N texts, or of one no finite number."""
    score_N = net(scaled_NF)
    return not CONSTANT <= float(score_N.max() - score_N.min()) < math.inf  # NaN is in no range


@torch.no_grad()
def _centred(net: FeatureNet, scaled_NF: Tensor) -> FeatureNet:
    last = [layer for layer in net.layers if isinstance(layer, torch.nn.Linear)][-1]
    last.bias -= net(scaled_NF).mean()
    return net


def _trained(config: FeaturesConfig, chosen_NF: Tensor, rejected_NF: Tensor, seed: int) -> FeatureNet:
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = net_of(config)
    optimiser = torch.optim.AdamW(net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    steps = config.num_train_epochs * math.ceil(len(chosen_NF) / config.train_batch_size)
    warm = max(round(config.warmup_share * steps), 1)

    def scale(step: int) -> float:
        done = (step - warm) / max(steps - warm, 1)
        return (step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * done))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, scale)
    weights = [p for name, p in net.named_parameters() if name.endswith("weight")]
    for _ in range(config.num_train_epochs):
        for rows in torch.randperm(len(chosen_NF), generator=generator).split(config.train_batch_size):
            loss = pairwise_reward_loss(net(chosen_NF[rows]), net(rejected_NF[rows])).mean()
            loss = loss + config.ridge * sum(weight.square().sum() for weight in weights)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), config.max_grad_norm)
            optimiser.step()
            schedule.step()
    return net.eval()

"""A reward from named features of a text: a net of under a hundred weights, which says what it looked at.

    v = (f - low) / (high - low)      each feature in [0, 1]
    phi(v) = W_k ... W_2 a(W_1 v + b_1) + ...,  activation a behind the first layer and the last     (sheet 2.2)

(Nath et al. 2024, arXiv:2402.15473.) A folder `features.json` (what the features are) and `features.safetensors` (the
net) is a reward like any other: `rewards: {quality: {features: FOLDER}}`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from homestretch.config.features import Activation, FeaturesConfig, FeatureTerm
from homestretch.errors import DataError, InputError
from homestretch.rewards.base import Reward
from homestretch.writing import write_text

SETTINGS, WEIGHTS = "features.json", "features.safetensors"
ACTIVATIONS: Mapping[Activation, Callable[[], nn.Module]] = {
    "none": nn.Identity,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
SLACK = 1e-6
NAMED = 3
"""Further rows that a message names."""


class FeatureNet(nn.Module):
    """phi of F scaled features, (N, F) -> (N,)."""

    def __init__(
        self, features: int, *, hidden_sizes: Sequence[int], activation: Activation, output_activation: Activation
    ) -> None:
        super().__init__()
        sizes = [features, *hidden_sizes, 1]
        layers: list[nn.Module] = []
        for depth, (width, into) in enumerate(pairwise(sizes)):
            layers.append(nn.Linear(width, into))
            if depth == 0 and hidden_sizes:
                layers.append(ACTIVATIONS[activation]())
        self.layers = nn.Sequential(*layers, ACTIVATIONS[output_activation]())

    def forward(self, scaled_NF: Tensor) -> Tensor:
        """The reward (N,) of rows of features (N, F), each scaled to 0..1."""
        return self.layers(scaled_NF).squeeze(-1)


def net_of(config: FeaturesConfig) -> FeatureNet:
    """A net of the settings, with new weights."""
    return FeatureNet(
        len(config.features),
        hidden_sizes=config.hidden_sizes,
        activation=config.activation,
        output_activation=config.output_activation,
    )


def scaled(config: FeaturesConfig, values: Mapping[str, Sequence[float | None]], where: Sequence[str]) -> Tensor:
    """Features (N, F) in [0, 1], columns in the order of their names.

    `values` holds each feature's N values, `where` the place of each text. Raises DataError for values that are None,
    NaN, or outside the feature's range, and says in which rows.
    """
    columns = []
    for name in sorted(config.features):
        term = config.features[name]
        bad = [i for i, value in enumerate(values[name]) if not _in_range(term, value)]
        if bad:
            what, remedy = _wrong(term, values[name][bad[0]])
            others = _and_others([where[i] for i in bad[1:]])
            raise DataError(f"{where[bad[0]]}: the feature `{name}` {what}{others}; {remedy}.")
        column = torch.tensor(list(values[name]), dtype=torch.float32)
        columns.append((column - term.low) / (term.high - term.low))
    return torch.stack(columns, dim=1)


def _in_range(term: FeatureTerm, value: float | None) -> bool:
    return value is not None and term.low - SLACK <= value <= term.high + SLACK  # NaN is in no range


def _wrong(term: FeatureTerm, value: float | None) -> tuple[str, str]:
    """What is wrong with a value, and what to do."""
    if value is not None and not math.isnan(value):
        what = f"is {value:g}, outside {term.low:g} to {term.high:g}"
        return what, "correct the rows, or the feature's `low` and `high`"
    if term.column is not None:
        sides = f"`chosen_{term.column}` and `rejected_{term.column}`"
        return f"has no number in the column `{term.column}`", f"correct the rows (in pairs {sides}), or the name"
    if term.local is not None:
        what = "has no value, because the document has no words that say something"
        return what, "give these rows another `document`, or leave them out"
    return "has no value", "leave these rows out, or the feature"


def _and_others(places: Sequence[str]) -> str:
    more = f" and {len(places) - NAMED} more" if len(places) > NAMED else ""
    return f", and no better at {', '.join(places[:NAMED])}{more}" if places else ""


@dataclass(frozen=True)
class FeatureReward:
    """A fitted net and the rewards that its features are; it follows the `Reward` protocol, and gives phi."""

    config: FeaturesConfig
    net: FeatureNet
    features: Mapping[str, Reward]

    def __call__(self, prompts: Sequence[Any], completions: Sequence[str], **columns: Sequence[Any]) -> list[float]:
        """phi of each completion, a logit: differences are log-odds of being preferred."""
        where = list(columns.get("where", [f"completion {i}" for i in range(len(completions))]))
        values = {name: list(reward(prompts, completions, **columns)) for name, reward in self.features.items()}
        with torch.no_grad():
            return self.net(scaled(self.config, values, where)).tolist()


def save_features(config: FeaturesConfig, net: FeatureNet, folder: Path) -> None:
    """Write settings and weights to `folder`. Raises InputError where that is not possible."""
    write_text(folder / SETTINGS, config.model_dump_json(indent=1))
    save_file({name: tensor.contiguous() for name, tensor in net.state_dict().items()}, folder / WEIGHTS)


def read_features(folder: str | Path) -> tuple[FeaturesConfig, FeatureNet]:
    """Settings and net of a folder. Raises InputError where it is none, or damaged."""
    folder = Path(folder)
    try:
        config = FeaturesConfig.model_validate_json((folder / SETTINGS).read_text(encoding="utf-8"))
        net = net_of(config)
        net.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{folder} holds no reward of features ({reason}); make one with `homestretch reward fit --kind features`."
        ) from None
    return config, net.eval()

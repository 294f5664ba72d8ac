"""The optimiser, and its state as plain named tensors."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from homestretch.collectives import dealt, whole
from homestretch.config.training import TrainingConfig

Parameters = dict[str, nn.Parameter]


def make_optimizer(parameters: Parameters, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW over the parameters; those of scalar heads get `head_learning_rate` where the method has one."""
    head_rate = getattr(config, "head_learning_rate", config.learning_rate)
    groups = [
        {"params": [p for n, p in parameters.items() if not n.startswith("heads.")], "lr": config.learning_rate},
        {"params": [p for n, p in parameters.items() if n.startswith("heads.")], "lr": head_rate},
    ]
    groups = [group for group in groups if group["params"]]
    for group in groups:
        group["peak_lr"] = group["lr"]
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay)


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Every group's step size becomes its peak times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> float:
    """Scale all gradients alike so that their joint 2-norm is at most `max_norm`; it gives the norm before that."""
    sharded, others = [], []
    for parameter in parameters:
        if parameter.grad is not None:
            (sharded if isinstance(parameter.grad, DTensor) else others).append(parameter)
    kinds = [kind for kind in (others, sharded) if kind]  # torch does not mix the two in one operation
    norms = [whole(nn.utils.get_total_norm([p.grad for p in kind if p.grad is not None])) for kind in kinds]
    norm = reduce(torch.hypot, norms) if norms else torch.zeros(())
    for kind in kinds:
        nn.utils.clip_grads_with_norm_(kind, max_norm, norm)
    return float(norm)


def optimizer_tensors(optimizer: torch.optim.Optimizer, parameters: Parameters) -> dict[str, Tensor]:
    """The optimiser's moments and step counts by parameter name."""
    return {
        f"optimizer.{name}.{key}": value
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: Parameters, tensors: dict[str, Tensor]
) -> None:
    """Put back what `optimizer_tensors` gave."""
    for name, parameter in parameters.items():
        prefix = f"optimizer.{name}."
        state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        if state:
            optimizer.state[parameter] = {k: v if k == "step" else dealt(v, like=parameter) for k, v in state.items()}

"""Stage `soup`: the weighted mean of the weights of several models, of adapters as of whole models."""

from __future__ import annotations

from pathlib import Path

import torch

from homestretch.config.seeded import of_seed
from homestretch.config.soup import SoupConfig
from homestretch.errors import InputError
from homestretch.training.context import Context
from homestretch.training.export import save_model


@torch.no_grad()
def run(context: Context, config: SoupConfig, folder: Path) -> None:
    """Average the models, merged adapters included, and save the result.

    Raises InputError where one cannot be loaded, or is of another architecture.
    """
    (first, share), *others = ((of_seed(name, context.recipe.seed), s) for name, s in config.models.items())
    trunk = context.load_trunk(first)
    mean = trunk.lm.state_dict()
    shapes = {name: tensor.shape for name, tensor in mean.items()}
    sums = {name: share * tensor.cpu().double() for name, tensor in mean.items() if tensor.is_floating_point()}
    for model, weight in others:
        other = context.load_trunk(model).lm.state_dict()
        if {name: tensor.shape for name, tensor in other.items()} != shapes:
            raise InputError(f"`{model}` and `{first}` are models of different shapes; name models of the same start.")
        for name in sums:
            sums[name] += weight * other[name].cpu().double()
    for name, total in sums.items():
        mean[name].copy_(total)
    save_model(trunk, None, context.tokenizer, folder / "model")

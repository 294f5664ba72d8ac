"""Several LoRA adapters on one set of base weights: which one is on, and a merged view for rollouts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn


def activate(model: nn.Module, adapter: str | None) -> None:
    """Switch the named adapter on everywhere, or all adapters off."""
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.enable_adapters(adapter is not None)
            if adapter is not None:
                module.set_adapter([adapter])


@contextmanager
def merged(model: nn.Module, adapter: str | None) -> Iterator[None]:
    """Base weights with the adapter added in, for the time of the block.

    Layers hold other tensors meanwhile, and get their own back afterwards, whatever happens: nothing is computed, so
    unmerging is exact. A tensor that two layers share stays as it is in the other one.
    """
    originals: list[tuple[nn.Module, nn.Parameter]] = []
    try:
        for layer in (m for m in model.modules() if adapter is not None and isinstance(m, LoraLayer)):
            base, original = layer.get_base_layer(), layer.get_base_layer().weight
            weight = original.detach() + layer.get_delta_weight(adapter).to(original.dtype)
            originals.append((base, original))
            base.weight = nn.Parameter(weight, requires_grad=False)
        activate(model, None)
        yield
    finally:
        for base, original in originals:
            base.weight = original
        activate(model, adapter)

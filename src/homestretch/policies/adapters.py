"""Several LoRA adapters on one set of base weights: which one is on, and a merged view for rollouts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

FEW_OUTPUTS = 16_384
"""Layers with more outputs, that is vocabularies, gain nothing from the layout and are large to copy."""


def activate(model: nn.Module, adapter: str | None) -> None:
    """Switch the named adapter on everywhere, or all adapters off. What is trained stays as it is."""
    trained = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.enable_adapters(adapter is not None)
            if adapter is not None:
                module.set_adapter([adapter])
    # peft freezes every adapter but the one that is on, and a frozen one gets no gradient of an earlier pass.
    for parameter, trains in trained:
        parameter.requires_grad_(trains)


def belongs(name: str, adapter: str) -> bool:
    """Whether a parameter of this name is the adapter's."""
    return re.search(rf"\.lora_\w+\.{re.escape(adapter)}(\.|$)", name) is not None


def copy_adapter(model: PeftModel, source: str, name: str) -> None:
    """A new adapter with the settings and the weights of `source`; the one that is on may be another afterwards."""
    model.add_adapter(name, replace(model.peft_config[source], inference_mode=False))
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            for layer in module.adapter_layer_names:
                held = getattr(module, layer)
                if source in held:
                    held[name].load_state_dict(held[source].state_dict())


@contextmanager
def merged(model: nn.Module, adapter: str | None) -> Iterator[None]:
    """Base weights with the adapter added in, for the time of the block.

    Layers hold other tensors meanwhile, and get their own back afterwards, whatever happens: nothing is computed, so
    unmerging is exact. A tensor that two layers share stays as it is in the other one. On a CPU the weights are also
    laid out input-major, which suits the few rows of a decoding step.
    """
    originals: list[tuple[nn.Module, nn.Parameter]] = []
    try:
        for module, base in _layers(model):
            weight = base.weight.detach()
            if adapter is not None and isinstance(module, LoraLayer):
                weight = weight + module.get_delta_weight(adapter).to(weight.dtype)
            if isinstance(base, nn.Linear) and weight.device.type == "cpu" and len(weight) < FEW_OUTPUTS:
                weight = weight.t().contiguous().t()
            originals.append((base, base.weight))
            base.weight = nn.Parameter(weight, requires_grad=False)
        activate(model, None)
        yield
    finally:
        for base, original in originals:
            base.weight = original
        activate(model, adapter)


def _layers(model: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    """The linear layers and those with adapters, each with what holds its weight."""
    layers = dict(model.named_modules())
    found = []
    for name, module in layers.items():
        base = getattr(module, "base_layer", module)
        inner = isinstance(layers.get(name.rpartition(".")[0]), BaseTunerLayer) or ".lora_" in name
        if not inner and (isinstance(module, LoraLayer) or isinstance(base, nn.Linear)):
            found.append((module, base))
    return found

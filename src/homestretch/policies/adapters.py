"""Several LoRA adapters on one set of base weights: which one is on, and a merged view for rollouts."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import PreTrainedModel


@contextmanager
def without_noise() -> Iterator[None]:
    """No warning of peft's that a user can do nothing about: it reads an attribute that transformers has renamed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        yield


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


def save_adapter(model: PeftModel, folder: Path, name: str) -> None:
    """Write an adapter in peft's format to the folder, where peft would make one of the adapter's name in it.

    The same adapter gives the same bytes: peft itself writes the names of modules as their hashes fall.
    """
    config = model.peft_config[name]
    if isinstance(config.target_modules, set):
        config.target_modules = sorted(config.target_modules)
    model.save_pretrained(folder, selected_adapters=[name])
    for file in (folder / name).iterdir():
        file.replace(folder / file.name)
    (folder / name).rmdir()


def merge(model: PeftModel, adapter: str) -> PreTrainedModel:
    """The model with the adapter added to its weights for good; the adapters are gone.

    An adapter of a layer changes that layer alone. So one that shares its weight with another, as an output layer does
    with the input embedding, gets a weight of its own first, and the configuration says that they are not tied.
    """
    lm = model.get_base_model()
    bases = [m.get_base_layer() for m in lm.modules() if isinstance(m, LoraLayer) and adapter in m.scaling]
    shared = [base for base in bases if sum(getattr(m, "weight", None) is base.weight for m in _held(lm)) > 1]
    for base in shared:
        base.weight = nn.Parameter(base.weight.detach().clone(), requires_grad=False)
    if shared:
        _say_tied(lm, False)
    model.set_adapter(adapter)
    lm = model.merge_and_unload(adapter_names=[adapter])
    if shared and lm.config.is_encoder_decoder:
        # Its other embeddings are one still, and T5 scales by this word; on loading, what differs is not tied.
        _say_tied(lm, True)
    return lm


def _held(lm: nn.Module) -> Iterator[nn.Module]:
    """Modules but for wrappers, which have the weight of the layer inside."""
    return (m for m in lm.modules() if not isinstance(m, BaseTunerLayer))


def _say_tied(lm: PreTrainedModel, tied: bool) -> None:
    for config in (lm.config, lm.config.get_text_config(decoder=True)):
        config.tie_word_embeddings = tied


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

"""Linear layers whose weights lie as oneDNN wants them, which makes products of few rows on a CPU two to three times
as fast: those of a decoding step.

A copy of each weight in the order of its matrix kernels is made once and read by all steps of a block; `nn.Linear`
lets the product find its way through the plain layout each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from homestretch.policies.memory import total

PACKED_SHARE = 0.25
"""Share of the device's memory for the copies. Layers for which nothing is left compute as they are."""
TOLERANCE = 1e-5


@contextmanager
def prepacked(model: nn.Module) -> Iterator[None]:
    """Products with float32 weights on a CPU from packed copies, for the time of the block.

    Weights must not change meanwhile. The layers keep them, and use them where a product is not in float32 (mixed
    precision); afterwards they compute as before, whatever happens. Results differ by rounding. Elsewhere than on a
    CPU, and where torch was built without oneDNN, nothing changes.
    """
    packed: list[nn.Module] = []
    try:
        if available():
            room = PACKED_SHARE * total(torch.device("cpu"))
            for layer in _layers(model):
                room -= layer.weight.nbytes
                if room >= 0:
                    layer.forward = _product(layer)
                    packed.append(layer)
        yield
    finally:
        for layer in packed:
            del layer.forward


@cache
def available() -> bool:
    """Whether this build of torch has such products, and they are right."""
    if not torch.backends.mkldnn.is_available():
        return False
    x, weight = torch.arange(12.0).view(2, 6), torch.arange(18.0).view(3, 6)
    try:
        return torch.allclose(_multiply(x, _pack(weight), None), x @ weight.T, rtol=TOLERANCE)
    except (AttributeError, RuntimeError, TypeError):
        return False  # another version of torch's operators


def _layers(model: nn.Module) -> list[nn.Linear | Conv1D]:
    """Layers that are a float32 product on a CPU and nothing else; subclasses and patched ones may be more."""
    return [
        module
        for module in model.modules()
        if type(module) in (nn.Linear, Conv1D)
        and "forward" not in vars(module)
        and module.weight.dtype == torch.float32
        and module.weight.device.type == "cpu"
    ]


def _product(layer: nn.Linear | Conv1D) -> Callable[[Tensor], Tensor]:
    weight, bias, plain = layer.weight.detach(), layer.bias, layer.forward

    @cache
    def packed() -> Tensor:  # at first use: layers of adapters that are off have none
        return _pack(weight.T if isinstance(layer, Conv1D) else weight)

    def forward(x: Tensor) -> Tensor:
        if x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return plain(x)
        return _multiply(x, packed(), bias)

    return forward


def _pack(weight_OI: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight_OI.contiguous())


def _multiply(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    """x W' + b, (..., I) -> (..., O)"""
    return torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")

"""Copies of weights as a device multiplies them, made once and read by all decoding steps of a block.

On a CPU they lie in the order of oneDNN's matrix kernels, which makes products of few rows two to three times as fast:
`nn.Linear` lets each product find its way through the plain layout. Under mixed precision, on any device, they are in
its type: else a float32 weight is rounded anew for each product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers.pytorch_utils import Conv1D

from homestretch.policies.memory import total

PACKED_SHARE = 0.25
"""Share of the device's memory for the copies. Layers for which nothing is left compute as they are."""
COPIES = {"cpu": 1.5, "cuda": 0.5}
"""What the copies of a float32 weight may come to, in its size: one of its own type on a CPU, and a rounded one."""
TOLERANCE = 1e-5


@contextmanager
def prepacked(model: nn.Module) -> Iterator[None]:
    """Products with float32 weights from copies, for the time of the block: on a CPU those of float32 and of mixed
    precision, with results that differ by rounding, and on a GPU those of mixed precision, with the same results.

    Weights must not change meanwhile. The layers keep them, and use them for all other products; afterwards they
    compute as before, whatever happens. On a CPU nothing changes where torch was built without oneDNN.
    """
    packed: list[nn.Module] = []
    try:
        for kind, product in PRODUCTS.items():
            layers = _layers(model, kind)
            room = PACKED_SHARE * total(layers[0].weight.device) if layers else 0.0
            for layer in layers:
                room -= COPIES[kind] * layer.weight.nbytes
                if room >= 0:
                    layer.forward = product(layer)
                    packed.append(layer)
        yield
    finally:
        for layer in packed:
            del layer.forward


@cache
def available(dtype: torch.dtype = torch.float32) -> bool:
    """Whether this build of torch has such products on this machine, and they are right."""
    if not torch.backends.mkldnn.is_available():
        return False
    # Small whole numbers, which bfloat16 has, as it has their products' sums.
    x, weight = (torch.arange(n, dtype=dtype).view(-1, 6) % 4 for n in (12, 18))
    try:
        return torch.allclose(_multiply(x, _pack(weight), None), x @ weight.T, rtol=TOLERANCE)
    except (AttributeError, RuntimeError, TypeError):
        return False  # another version of torch's operators


def _layers(model: nn.Module, kind: str) -> list[nn.Linear | Conv1D]:
    """Layers that are a float32 product on such a device and nothing else; subclasses and patched ones may be more."""
    if kind == "cpu" and not available():
        return []
    return [
        module
        for module in model.modules()
        if type(module) in (nn.Linear, Conv1D)
        and "forward" not in vars(module)
        and module.weight.dtype == torch.float32
        and module.weight.device.type == kind
    ]


def _packed_product(layer: nn.Linear | Conv1D) -> Callable[[Tensor], Tensor]:
    weight, bias, plain = layer.weight.detach(), layer.bias, layer.forward

    @cache
    def packed(dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:  # at first use: adapters that are off have none
        return _pack(_by_outputs(layer, weight).to(dtype)), None if bias is None else bias.detach().to(dtype)

    def forward(x: Tensor) -> Tensor:
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else weight.dtype
        if x.dtype not in (dtype, torch.float32) or not available(dtype):
            return plain(x)
        return _multiply(x.to(dtype), *packed(dtype))

    return forward


def _rounded_product(layer: nn.Linear | Conv1D) -> Callable[[Tensor], Tensor]:
    weight, bias, plain = layer.weight.detach(), layer.bias, layer.forward
    kind = weight.device.type

    @cache
    def rounded(dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        return _by_outputs(layer, weight).to(dtype), None if bias is None else bias.detach().to(dtype)

    def forward(x: Tensor) -> Tensor:
        if not torch.is_autocast_enabled(kind):
            return plain(x)
        dtype = torch.get_autocast_dtype(kind)
        return linear(x.to(dtype), *rounded(dtype))

    return forward


PRODUCTS: dict[str, Callable[[nn.Linear | Conv1D], Callable[[Tensor], Tensor]]] = {
    "cpu": _packed_product,
    "cuda": _rounded_product,
}


def _by_outputs(layer: nn.Linear | Conv1D, weight: Tensor) -> Tensor:
    """The weight as (O, I)."""
    return weight.T if isinstance(layer, Conv1D) else weight


def _pack(weight_OI: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight_OI.contiguous())


def _multiply(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    """x W' + b, (..., I) -> (..., O)"""
    return torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")

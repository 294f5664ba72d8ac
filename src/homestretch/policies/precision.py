"""The precision of forward passes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch


def autocast(device: torch.device, bf16: bool | None = None) -> Callable[[], AbstractContextManager[None]]:
    """Gives the context of forward passes: mixed bfloat16 where `bf16` says so, or for None where it pays."""
    enabled = bf16_pays(device) if bf16 is None else bf16
    return lambda: torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def bf16_pays(device: torch.device) -> bool:
    """Whether bfloat16 matrix products run faster than float32 on this device (`benchmarks/training_step.py`)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())

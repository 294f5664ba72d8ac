"""Memory of the device, and what the allocator keeps of it although nothing uses it any more."""

from __future__ import annotations

import ctypes
import os
import sys

import torch


def release() -> None:
    """Give free pages of the C heap back to the system.

    Decoding and training take turns with blocks of other sizes, and glibc keeps what it has freed of either: without
    this, a process holds the sum of both instead of the larger. Does nothing on other systems.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def total(device: torch.device) -> int:
    """Bytes of the memory that tensors of this device live in, used or not."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

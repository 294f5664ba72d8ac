"""Memory of the device, and what the allocator keeps of it although nothing uses it any more."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import torch

from homestretch import ranks
from homestretch.errors import InputError

T = TypeVar("T")

M_MMAP_THRESHOLD, LARGE_BLOCK = -3, 16 << 20
"""`mallopt`'s name for the size from which blocks get pages of their own, which go back as soon as they are freed."""


def release() -> None:
    """Give free pages of the C heap back to the system.

    Decoding and training take turns with blocks of other sizes, and glibc keeps what it has freed of either: without
    this, a process holds the sum of both instead of the larger. Does nothing on other systems.
    """
    trim = _of_libc("malloc_trim")
    if trim is not None:
        trim(0)


def steady_heap() -> None:
    """Give blocks of 16 MiB and more pages of their own, for good.

    Left alone, glibc raises that limit to the largest block that was ever freed, so that the first large tensor moves
    all later ones into a heap full of holes: a pass over a vocabulary of 152,000 held 1.4 GB where it needs 0.4
    (`benchmarks/memory.py`). Does nothing on other systems.
    """
    mallopt = _of_libc("mallopt")
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)


def _of_libc(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


def total(device: torch.device) -> int:
    """Bytes of the memory that tensors of this device live in, used or not."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def start_peak(device: torch.device) -> None:
    """From here on `peak` counts anew, where the system lets it."""
    release()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):  # not Linux, or not allowed
        Path("/proc/self/clear_refs").write_text("5")


def peak(device: torch.device) -> int:
    """The most bytes since `start_peak`: of the accelerator, or held by this process, earlier tenants included."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def within_memory(attempt: Callable[[int], T], budget: int) -> T:
    """What `attempt` gives for the largest of `budget`, half of it, a quarter and so on that the memory has room for.

    An attempt starts from the beginning each time. Raises InputError where the smallest one fails too, and for the
    first one that fails where weights are sharded: the other processes wait in the middle of the same pass.
    """
    while budget:
        try:
            return attempt(budget)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if ranks.sharded():
                raise InputError(
                    f"Memory ran out with {budget} tokens in a pass, which cannot be cut again while weights are "
                    f"sharded: start anew with micro_batch_tokens at {budget // 2} or less in the stage."
                ) from None
        # Behind the block: until here the error holds on to the tensors of the attempt.
        gc.collect()
        release()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        print(f"homestretch: memory ran out with {budget} tokens in a pass; trying {budget // 2}.", file=sys.stderr)
        budget //= 2
    raise InputError(
        "There is not enough memory for one sequence: set gradient_checkpointing=true, lower "
        "dataset.max_prompt_length or dataset.max_completion_length, or take a smaller model."
    )


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a device, or torch on the CPU, had no room for a tensor."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(error)

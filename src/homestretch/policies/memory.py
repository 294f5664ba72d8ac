"""Memory that the allocator keeps although nothing uses it any more."""

from __future__ import annotations

import ctypes
import sys


def release() -> None:
    """Give free pages of the C heap back to the system.

    Decoding and training take turns with blocks of other sizes, and glibc keeps what it has freed of either: without
    this, a process holds the sum of both instead of the larger. Does nothing on other systems.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)

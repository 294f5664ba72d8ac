"""Which of several processes this is. `accelerate launch` and `torchrun` say so in the environment.

All processes of a run do the same steps on the same data. What costs time (decoding, scoring, gradients) is dealt out
and put together again, so that every process knows every result; files are written by the first one alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_blocks_alone = 0


def count() -> int:
    """Processes that share the work at hand."""
    return 1 if _blocks_alone else int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """The number of this process among those that share the work, from 0."""
    return 0 if _blocks_alone else int(os.environ.get("RANK", "0"))


def sharded() -> bool:
    """Whether weights are dealt out as well (FSDP): then every process must make each pass of a model with all others,
    in a block `alone()` too."""
    wanted = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() in ("true", "1")
    return wanted and int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_first() -> bool:
    """Whether this is the process that writes files and speaks, alone or not."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def alone() -> Iterator[None]:
    """In this block the process works for itself: nothing is dealt out, and it does not wait for the others.

    For what not every process does, or each on rows of its own.
    """
    global _blocks_alone
    _blocks_alone += 1
    try:
        yield
    finally:
        _blocks_alone -= 1

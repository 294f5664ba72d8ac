"""What does not change while a stage trains: computed once, kept in its folder, and read when the stage goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from homestretch.collectives import from_first, wait
from homestretch.training import checkpoint


def once(folder: Path, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors that `make` gave when it was first called for this folder, on the CPU.

    They are read back even the first time, so that a stage that goes on has the same bits. Raises CheckpointError
    where the folder is damaged.
    """
    if not from_first(folder.is_dir()):
        checkpoint.save(folder, make(), {})
        wait()
    return checkpoint.load(folder)[0]

"""What does not change while a stage trains: computed once, kept in its folder, and read when the stage goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from homestretch import ranks
from homestretch.collectives import from_first, wait
from homestretch.results import RunFolder
from homestretch.training import checkpoint
from homestretch.training.export import link_tree


def once(
    folder: Path, make: Callable[[], dict[str, Tensor]], *, key: str = "", others: Sequence[RunFolder] = ()
) -> dict[str, Tensor]:
    """The tensors that `make` gave when it was first called for this folder, on the CPU.

    With a `key`, which names all that they hang on, they are taken over from a stage of the `others` that has them.
    They are read back even the first time, so that a stage that goes on has the same bits. Raises CheckpointError where
    the folder is damaged.
    """
    if not from_first(folder.is_dir()):
        source = from_first(_of_others(folder.name, key, others) if key and ranks.is_first() else None)
        if source is None:
            checkpoint.save(folder, make(), {"key": key})
        elif ranks.is_first():
            link_tree(source, folder)
        wait()
    return checkpoint.load(folder)[0]


def _of_others(name: str, key: str, others: Sequence[RunFolder]) -> Path | None:
    for run in others:
        for stage in run.stage_folders():
            made = stage.path / name
            if made.is_dir() and checkpoint.read_state(made).get("key") == key:
                return made
    return None

"""Checkpoints that are whole or not there: written beside, checked by digest, renamed into place."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from homestretch import ranks
from homestretch.collectives import whole
from homestretch.errors import CheckpointError

PREFIX = "checkpoint-"


def save(folder: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write tensors and plain values to `folder`; a reader sees the old content or the new, never a part.

    `folder` may exist and is then replaced. Of several processes only the first writes. Sharded tensors are put
    together first, so that any number of processes can go on from them, with shards or without.
    """
    kept: dict[str, Tensor] = {}
    for key, value in tensors.items():
        made = whole(value.detach())  # by all processes
        if ranks.is_first():
            kept[key] = made.cpu().contiguous()
    if not ranks.is_first():
        return
    beside = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    save_file(kept, beside / "tensors.safetensors")
    digest = _digest(beside / "tensors.safetensors", state)
    (beside / "state.json").write_text(json.dumps({"sha256": digest, "state": state}, indent=1))
    for file in beside.iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)


def load(folder: Path, *, delete: Path | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (on the CPU) and plain values of a checkpoint.

    Raises CheckpointError when a file is missing or does not match its digest; it says to delete this folder, or the
    one that is given.
    """
    remedy = f"delete {'this folder' if delete is None else delete} and start the same command again."
    try:
        found = json.loads((folder / "state.json").read_text())
        if found["sha256"] != _digest(folder / "tensors.safetensors", found["state"]):
            raise CheckpointError(f"{folder}: the checkpoint is damaged (digest mismatch); {remedy}")
        return load_file(folder / "tensors.safetensors"), found["state"]
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: the checkpoint cannot be read ({error}); {remedy}") from None


def latest(folder: Path) -> Path | None:
    """The newest `checkpoint-N` in `folder`, or None."""
    found = [p for p in folder.glob(f"{PREFIX}*") if p.name.removeprefix(PREFIX).isdigit()]
    return max(found, key=lambda p: int(p.name.removeprefix(PREFIX)), default=None)


def keep_only(folder: Path, newest: Path) -> None:
    """Delete every other numbered checkpoint in `folder`; of several processes the first does."""
    if not ranks.is_first():
        return
    for other in folder.glob(f"{PREFIX}*"):
        if other != newest:
            shutil.rmtree(other)


def read_state(folder: Path) -> dict[str, Any]:
    """The plain values of a checkpoint, unchecked."""
    return json.loads((folder / "state.json").read_text())["state"]


def _digest(file: Path, state: dict[str, Any]) -> str:
    with file.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256")
    digest.update(json.dumps(state, sort_keys=True).encode())
    return digest.hexdigest()

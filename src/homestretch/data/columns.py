"""The columns of a raw row under our names, with what the cells of a CSV file stand for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from homestretch.config.base import nearest
from homestretch.data.files import RawRow, parse_json
from homestretch.data.records import ENDED
from homestretch.errors import DataError

JSON = ("references", "rewards", "messages")
"""A cell holds them as JSON and nothing else."""
CHAT = ("prompt", "completion", "chosen", "rejected")
"""Text, or chat messages."""
TEXT = ("id", "document", "failure_mode", "text", "answer", "prediction", "predictions", "source", "reference", "arm",
        "annotator")  # fmt: skip
FLAGS = (*ENDED, "correct")
SAID = {"true": True, "1": True, "false": False, "0": False}
"""What the cells of a flag stand for, in any case."""


def columns_of(raw: RawRow, names: Mapping[str, str] | None = None) -> Any:
    """The row's value; `names` maps our names to the data's. Raises the row's own problem, or DataError."""
    if raw.problem is not None:
        raise raw.problem
    if not isinstance(raw.value, Mapping):
        return raw.value
    names = names or {}
    for ours, theirs in names.items():
        if theirs not in raw.value:
            hint = nearest(theirs, [str(k) for k in raw.value])
            raise DataError(f"{raw.where}: columns.{ours}={theirs}: there is no such column; {hint}")
    kept = {k: v for k, v in raw.value.items() if k not in names.values()}
    row = kept | {ours: raw.value[theirs] for ours, theirs in names.items()}
    return {name: _meant(name, cell, raw.where) for name, cell in row.items()} if raw.is_csv else row


def _meant(name: str, cell: str | None, where: str) -> Any:
    """What a cell of the column stands for; an empty one for nothing, unless the column is of text."""
    if name in TEXT or (not cell and name in CHAT):
        return cell
    if not cell:
        return None
    if name in FLAGS:
        return SAID.get(cell.strip().lower(), cell)
    if name not in JSON and not cell.lstrip().startswith(("[", "{")):
        return cell
    try:
        value = parse_json(cell)
    except json.JSONDecodeError as error:
        if name not in JSON:
            return cell
        names = ", ".join(f"`{k}`" for k in JSON)
        raise DataError(f"{where}: a cell of {names} must be JSON ({error.msg}); correct it.") from None
    return value if name not in CHAT or _are_messages(value) else cell


def _are_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(m, dict) and "role" in m for m in value)

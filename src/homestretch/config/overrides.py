"""`key=value` on top of a recipe's plain values: `seed=3`, `dataset.max_train=200`, `ppo.kl_coef=0.1`.

The value is YAML. An override only puts a value in its place; the recipe's own checks then judge it, and a message
names the override's key instead of a line. It does not repeat the value, which may be a key that was to be kept secret.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from homestretch.config.base import nearest
from homestretch.config.stages import STAGES
from homestretch.config.yaml import Document, KeyPath, load_text
from homestretch.errors import RecipeError

_KEY = re.compile(r"[\w.-]+")


def apply(document: Document, overrides: list[str], *, known: list[str]) -> Document:
    """`document` with the overrides put in. `known`: the recipe's own keys. Raises RecipeError."""
    for text in overrides:
        key, equals, value = text.partition("=")
        shown = _KEY.match(key.strip())
        place = f"override `{shown.group() if shown else '='}`"
        if not equals or not _KEY.fullmatch(key.strip()):
            raise RecipeError(f"{place}: this is not `key=value`; write for example `ppo.kl_coef=0.1`.")
        path = _path(key.strip(), document.values.get("stages"), known, place)
        try:
            parsed = load_text(value, name=place).values
        except RecipeError:
            raise RecipeError(f"{place}: the value is not valid YAML; quote it, as in `key='some text'`.") from None
        places = {p: w for p, w in document.places.items() if p[: len(path)] != path}
        shortest = 4 if path[0] == "stages" and len(path) > 3 else 1  # the keys that this override may have made
        places |= {p: place for n in range(shortest, len(path) + 1) if (p := path[:n]) not in places}
        document = replace(document, values=_put(document.values, path, parsed, place), places=places)
    return document


def _path(key: str, stages: Any, known: list[str], place: str) -> KeyPath:
    """Where in the recipe `key` points to."""
    first, *rest = key.split(".")
    names = [_stage_name(item) for item in stages] if isinstance(stages, list | tuple) else []
    if first in names:
        return ("stages", names.index(first), first, *rest)
    if first in known:
        return (first, *rest)
    there = ", ".join(f"`{n}`" for n in names)
    if first in STAGES:
        raise RecipeError(f"{place}: the recipe has no stage `{first}`; it has {there}.")
    if not rest:
        owners = [n for n in names if first in _fields(n)]
        if owners:
            raise RecipeError(f"{place}: `{first}` belongs to a stage; write `{owners[-1]}.{first}=...`.")
    raise RecipeError(f"{place}: unknown key `{first}`; {nearest(first, [*known, *names])}")


def _put(values: Any, path: KeyPath, value: Any, place: str) -> Any:
    """A copy of `values` with `value` at `path`; what is shared with other places (YAML anchors) stays as it was."""
    if not path:
        return value
    key, rest = path[0], path[1:]
    if isinstance(key, int):
        return [_put(v, rest, value, place) if i == key else v for i, v in enumerate(values)]
    if isinstance(values, str) and values == key:  # a stage that is only named
        values = {key: None}
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise RecipeError(f"{place}: `{key}` cannot be set inside a value without keys; give the whole value.")
    return {**values, key: _put(values.get(key), rest, value, place)}


def _stage_name(item: Any) -> str:
    return str(next(iter(item), "")) if isinstance(item, dict) else str(getattr(item, "name", item))


def _fields(stage: str) -> list[str]:
    kind = STAGES.get(stage.split("-", 1)[0])
    return list(kind.model_fields) if kind else []

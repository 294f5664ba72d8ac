"""The base of every settings class: strict, frozen, and helpful about names that do not exist."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from homestretch.errors import RecipeError

Where = str | Callable[[tuple[str | int, ...]], str]
"""The place that a message starts with, or a function that gives it for the path of a key."""


class Config(BaseModel):
    """Settings of one part. Unknown keys are refused; a field's docstring stands beneath it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    trains_policy: ClassVar[bool] = False
    """Whether the run has another model after a stage with these settings, or answers with it in another way."""

    least_share: ClassVar[float] = 0.0
    """The least that the first of the `shares` can be."""

    @property
    def stands_alone(self) -> bool:
        """Whether a stage with these settings needs no other before it, although its kind does by default."""
        return False

    @property
    def names_rewards(self) -> bool:
        """Whether the settings say where rewards come from, so that neither a column nor a reward model is needed."""
        return False

    @property
    def shares(self) -> dict[str, float]:
        """Weights of the objectives that the settings trade off against each other, the leading one first."""
        return {}

    def with_shares(self, shares: Mapping[str, float]) -> Self:
        """The same settings with other weights of its objectives. Raises NotImplementedError where it has none."""
        raise NotImplementedError(f"{type(self).__name__} trades nothing off.")

    def refuse_unread(self, names: Iterable[str], why: str) -> None:
        """Raise ValueError for the first of these settings that is not as by default, which a resolved recipe writes
        too; `why` follows its name."""
        for name in names:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"`{name}` {why}")

    @classmethod
    def parse(cls, values: dict[str, Any], *, where: Where) -> Self:
        """Settings from plain values; `where` names their place in the message.

        Raises RecipeError with one sentence for the first thing that is wrong.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise RecipeError(_sentence(cls, error.errors()[0], values, where)) from None


def nearest(name: str, known: list[str]) -> str:
    """`; did you mean 'x'?` for the nearest known name, else the list of what there is."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else f"known are {', '.join(f'`{k}`' for k in sorted(known))}."


def field_names(cls: type[BaseModel], path: tuple[str | int, ...] = ()) -> list[str]:
    """Names that may stand at `path` below the settings class `cls`; none where there are no settings."""
    parts = iter(path)
    for part in parts:
        field = cls.model_fields.get(str(part))
        options = [field.annotation, *typing.get_args(field.annotation)] if field else []
        nested = [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]
        if not nested:
            return []
        if typing.get_origin(options[0]) is dict:
            next(parts, None)  # a key that the user has chosen
        cls = nested[0]
    return list(cls.model_fields)


def _sentence(cls: type[Config], error: ErrorDetails, values: Any, where: Where) -> str:
    path = _given(error["loc"], values) if error["type"] != "missing" else error["loc"]
    place = where if isinstance(where, str) else where(path)
    name = ".".join(str(part) for part in path)
    if error["type"] == "extra_forbidden":
        return f"{place}: unknown key `{name}`; {nearest(str(path[-1]), field_names(cls, path[:-1]))}"
    if error["type"] == "missing":
        return f"{place}: `{name}` is missing; give it a value."
    problem = error["msg"].removeprefix("Value error, ").rstrip(".")
    problem = f"{problem[:1].lower()}{problem[1:]}"
    return f"{place}: `{name}` = {error['input']!r} cannot be used: {problem}." if name else f"{place}: {problem}."


def _given(loc: tuple[str | int, ...], values: Any) -> tuple[str | int, ...]:
    """`loc` without the trailing parts that pydantic adds for the members of a union."""
    for depth, part in enumerate(loc):
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return loc[:depth]
    return loc

"""Rewards that are a user's Python function: found by import path, asked as TRL asks, answers checked."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import math
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from homestretch.config.base import nearest
from homestretch.errors import HomestretchError, InputError, RecipeError


def load_function(name: str, place: str) -> Callable[..., Any]:
    """The function at `module:function` or `path/to/file.py:function`; `name` is the reward's, for messages.

    Modules are looked for in the working directory, too. Raises RecipeError with one sentence where there is none.
    """
    where, _, attribute = place.rpartition(":")
    try:
        module = _of_file(name, Path(where)) if where.endswith(".py") else _of_path(where)
    except HomestretchError:
        raise
    except Exception as error:  # whatever the user's module raises, the user needs one sentence
        raise RecipeError(f"rewards.{name}: {where} cannot be imported ({_words(error)}); correct it.") from error
    function = getattr(module, attribute, None)
    if not callable(function):
        there = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise RecipeError(f"rewards.{name}: {where} has no function `{attribute}`; {nearest(attribute, there)}")
    return function


def source_key(place: str) -> str:
    """Changes when the file of a function changes: what it gave before is not what it would give."""
    where = place.rpartition(":")[0]
    if where.endswith(".py"):
        file = Path(where)
    else:
        module = _of_path(where)
        file = Path(module.__file__ or "")
    return hashlib.blake2b(file.read_bytes()).hexdigest() if file.is_file() else ""


def _of_file(name: str, file: Path) -> ModuleType:
    if not file.is_file():
        raise RecipeError(f"rewards.{name}: there is no file {file}; give the path from the working directory.")
    spec = importlib.util.spec_from_file_location(f"homestretch_reward_{file.stem}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles of the user's file look themselves up there
    spec.loader.exec_module(module)
    return module


def _of_path(where: str) -> ModuleType:
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        return importlib.import_module(where)
    finally:
        sys.path.remove(here)


class FunctionReward:
    """A function that is asked with keywords, `prompts`, `completions` and those of the columns that it takes.

    Raises InputError, which names it, where it raises, or gives anything but a finite number or None for each
    completion.
    """

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name, self.function = name, function
        parameters = inspect.signature(function).parameters.values()
        self.takes = None if any(p.kind is p.VAR_KEYWORD for p in parameters) else {p.name for p in parameters}

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[str], **columns: Sequence[Any]
    ) -> list[float | None]:
        """Rewards of completions."""
        given = {"prompts": list(prompts), "completions": list(completions), **columns}
        if self.takes is not None:
            given = {key: value for key, value in given.items() if key in self.takes}
        try:
            found = self.function(**given)
        except HomestretchError:
            raise
        except Exception as error:  # whatever the user's function raises
            line = traceback.extract_tb(error.__traceback__)[-1]
            raise InputError(
                f"The reward `{self.name}` raised {_words(error)} at {line.filename}:{line.lineno}; correct it."
            ) from error
        return self._checked(found, len(completions))

    def _checked(self, found: Any, count: int) -> list[float | None]:
        found = found.tolist() if hasattr(found, "tolist") else found  # arrays and tensors
        if not isinstance(found, list | tuple):
            raise InputError(f"The reward `{self.name}` gave {found!r}; it must give a list of numbers.")
        if len(found) != count:
            raise InputError(
                f"The reward `{self.name}` gave {len(found)} numbers for {count} completions; it must give one each."
            )
        return [None if value is None else self._number(value) for value in found]

    def _number(self, value: Any) -> float:
        try:
            number = math.nan if isinstance(value, str) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise InputError(
                f"The reward `{self.name}` gave {value!r}, which is no finite number; give None where there is none."
            )
        return number


def _words(error: Exception) -> str:
    """Kind and first line of a foreign error."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200].rstrip('. ')}" if lines else type(error).__name__

"""The recipes that come with the package, by name: `last_mile/quickstart`, or `quickstart` where that is clear; and
configurations of `accelerate launch` for several processes, `launch/gpus`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from homestretch.config.base import nearest
from homestretch.errors import RecipeError

PACKAGE = Path(__file__).resolve().parent.parent


def recipes_folder() -> Path:
    """The folder of recipes."""
    return _folder("recipes")


def _folder(name: str) -> Path:
    # inside an installed package, or beside `src` in a source checkout
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent.parent / name


def launchers() -> dict[str, Path]:
    """Every configuration of `accelerate launch` that comes with the package, by name."""
    return {f"launch/{p.stem}": p for p in sorted(_folder("launch").glob("*.yaml"))}


def find_shipped(name_or_path: str | Path) -> Path:
    """The file of a recipe, or of a configuration of `accelerate launch`. Raises RecipeError."""
    return launchers().get(str(name_or_path)) or find_recipe(name_or_path)


def shipped() -> dict[str, Path]:
    """Every recipe that comes with the package, by name."""
    folder = recipes_folder()
    return {p.relative_to(folder).with_suffix("").as_posix(): p for p in sorted(folder.rglob("*.yaml"))}


def find_recipe(name_or_path: str | Path) -> Path:
    """The file of a recipe given by path or by name. Raises RecipeError."""
    path, name = Path(name_or_path), str(name_or_path)
    if path.is_file():
        return path
    there = shipped()
    found = [p for key, p in there.items() if name in (key, key.rpartition("/")[2])]
    if len(found) == 1:
        return found[0]
    if found:
        raise RecipeError(
            f"`{name}` is the name of several recipes; write {' or '.join(k for k in there if name in k)}."
        )
    raise RecipeError(
        f"{name}: there is no such file, and no recipe of that name; {nearest(name, _names(name, there))}"
    )


def _names(name: str, there: Iterable[str]) -> list[str]:
    """What could have been meant by `name`: short names where they are clear."""
    shorts = [key.rpartition("/")[2] for key in there]
    return [key if "/" in name or shorts.count(short) > 1 else short for key, short in zip(there, shorts, strict=True)]


def phrase(path: Path) -> str:
    """What a recipe does: its first line, a comment."""
    return _first_lines(path)[0].lstrip("#").strip()


def when(path: Path) -> str:
    """When to take a recipe, the same for all of a method: its second line, a comment `When: ...`; else nothing."""
    _, mark, text = _first_lines(path)[1].partition("# When: ")
    return text.strip() if mark else ""


def _first_lines(path: Path) -> tuple[str, str]:
    with path.open(encoding="utf-8") as file:
        return file.readline(), file.readline()

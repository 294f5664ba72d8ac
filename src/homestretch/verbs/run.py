"""Run recipes: the whole pipeline on a user's pairs, the quickstart, or any list of stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from homestretch.config.recipe import Recipe, load_recipe
from homestretch.config.shipped import find_recipe
from homestretch.config.yaml import inline
from homestretch.results import RunFolder

Overrides = Mapping[str, Any] | Sequence[str]


def run(
    data: str | Path,
    *,
    model: str | Path = "builtin/smollm2-135m",
    out: str | Path | None = None,
    on_bad_row: str = "error",
    overrides: Overrides = (),
) -> RunFolder:
    """The whole pipeline on (prompt, completion) pairs: SFT, negatives, reward model, PPO, evaluation, report.

    `data` is a file, a folder, a name on the Hub or `builtin/docstrings`; `out` is the run folder, `runs/NAME` by
    default. `overrides` are recipe settings: `{"ppo.kl_coef": 0.1}` or `["ppo.kl_coef=0.1"]`. Called again with the
    same arguments it goes on where it stopped. Raises InputError.
    """
    settings = own_pairs(data, model, on_bad_row, overrides)
    return train("last_mile/text", out=out or default_folder(data), overrides=settings)


def own_pairs(data: str | Path, model: str | Path, on_bad_row: str, overrides: Overrides) -> list[str]:
    """Overrides that put a user's data and model into a recipe, before the user's own overrides."""
    given = {"dataset.name": str(data), "model_name_or_path": str(model), "dataset.on_bad_row": on_bad_row}
    return [*as_texts(given), *as_texts(overrides)]


def quickstart(*, fast: bool = False, out: str | Path = "runs/quickstart", overrides: Overrides = ()) -> RunFolder:
    """The whole pipeline on data and a model that need no download; `fast` shows every stage with much less."""
    return train("last_mile/quickstart_fast" if fast else "last_mile/quickstart", out=out, overrides=overrides)


def train(
    recipe: Recipe | str | Path | dict[str, Any], *, out: str | Path | None = None, overrides: Overrides = ()
) -> RunFolder:
    """Run a recipe: a Recipe, its values, a file, or the name of a shipped one. Raises InputError."""
    if not isinstance(recipe, Recipe):
        source = find_recipe(recipe) if isinstance(recipe, str | Path) else recipe
        name = source.stem if isinstance(source, Path) else "recipe"
        loaded = load_recipe(source, as_texts(overrides))
    else:
        name, loaded = "recipe", load_recipe(recipe.model_dump(mode="json"), as_texts(overrides))
    folder = Path(out or loaded.output_dir or Path("runs") / name)

    from homestretch.training.pipeline import run_recipe

    return run_recipe(loaded, folder)


def as_texts(overrides: Overrides) -> list[str]:
    """Overrides as `key=value`."""
    if isinstance(overrides, Mapping):
        return [f"{key}={inline(value)}" for key, value in overrides.items()]
    return list(overrides)


def default_folder(data: str | Path) -> Path:
    """`runs/pairs` of `data/pairs.jsonl`."""
    path = Path(data)
    return Path("runs") / (path.stem if path.suffix else path.name)

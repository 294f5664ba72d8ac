"""A model between those of a front: their weights interpolated, and how far that lands from the trained ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from homestretch.compared import Compared, ComparisonFolder
from homestretch.config.front import share_of, swept
from homestretch.config.recipe import Recipe, Stage, load_recipe
from homestretch.config.soup import SoupConfig
from homestretch.config.yaml import inline
from homestretch.errors import InputError
from homestretch.verbs.compare import compare


def soup(front: str | Path, *, weight: float, of: str | None = None) -> Compared:
    """Add the soup `soupW` of the front's outermost models to its folder, evaluated like them, with a new page.

    Its share of either is such that their weights average to `weight`. Called for another weight, earlier soups stay.
    Of a front of several recipes, `of` names the one whose models are mixed, and the soup is called `OF-soupW`.
    Raises InputError: no front in the folder, no such recipe, or a weight that is not between its outermost ones.
    """
    folder = ComparisonFolder(front)
    record = Compared.read(folder.record)
    seed = record.seeds[0] if record.seeds else 0
    done = [name for name, method in record.methods.items() if method.status == "done" and not method.baseline]
    recipes = {name: load_recipe(file) for name, file in folder.recipes(done, seed).items()}
    trained = _trained(record, recipes, folder, of)
    low, high = min(trained, key=trained.__getitem__), max(trained, key=trained.__getitem__)
    if not trained[low] < weight < trained[high]:
        raise InputError(
            f"The weight {weight:g} is not between those of the outermost models, {trained[low]:g} and "
            f"{trained[high]:g}; choose another."
        )
    share = (weight - trained[low]) / (trained[high] - trained[low])
    place = folder.path.resolve()  # the soup is part of the front then, from wherever that is extended next
    models = {str(place / name / "{seed}" / "model"): part for name, part in ((low, 1 - share), (high, share))}
    evaluation = recipes[low].find("evaluate")
    assert evaluation is not None and record.front is not None
    settings = evaluation.model_dump(mode="json")
    name = f"{of}-soup{weight:g}" if of else f"soup{weight:g}"
    return compare(
        recipes | {name: _instead_of_training(recipes[low], SoupConfig(models=models))},
        out=front,
        seeds=record.seeds,
        objectives=record.front.objectives,
        families={name: family.methods for name, family in record.front.families.items()},
        overrides=[f"evaluate.{key}={inline(value)}" for key, value in settings.items()],
    )


def _trained(
    record: Compared, recipes: Mapping[str, Recipe], folder: ComparisonFolder, of: str | None
) -> dict[str, float]:
    """The models that may be mixed, with their weights. Raises InputError."""
    families = record.front.families if record.front is not None else {}
    if of is None and families:
        raise InputError(f"{folder.path} has models of {', '.join(families)}; say with --of whose are to be mixed.")
    if of is not None and of not in families:
        there = f"there are {', '.join(families)}" if families else "it is of one recipe, so leave --of out"
        raise InputError(f"{folder.path}: `{of}` is none of the front's recipes; {there}.")
    names = families[of].methods if of is not None else list(recipes)
    trained = {
        name: share_of(stage.config)
        for name in names
        if name in recipes and (stage := swept(recipes[name])).kind not in ("soup", "best_of")
    }
    if record.front is None or len(trained) < 2:
        raise InputError(f"{folder.path} holds no front of two models at least; make one with `homestretch front`.")
    return trained


def _instead_of_training(recipe: Recipe, config: SoupConfig) -> Recipe:
    old = swept(recipe)
    stages = [Stage(name="soup", config=config) if stage is old else stage for stage in recipe.stages]
    return recipe.model_copy(update={"stages": stages})

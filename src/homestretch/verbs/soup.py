"""A model between those of a front: their weights interpolated, and how far that lands from the trained ones."""

from __future__ import annotations

import json
from pathlib import Path

from homestretch.compared import Compared, ComparisonFolder
from homestretch.config.front import STAGE
from homestretch.config.modpo import MODPOConfig
from homestretch.config.recipe import Recipe, Stage, load_recipe
from homestretch.config.soup import SoupConfig
from homestretch.errors import InputError
from homestretch.verbs.compare import compare


def soup(front: str | Path, *, weight: float) -> Compared:
    """Add the soup `soupW` of the front's outermost models to its folder, evaluated like them, with a new page.

    Its share of either is such that their weights average to `weight`. Called for another weight, earlier soups stay.
    Raises InputError: no front in the folder, or a weight that is not between its outermost ones.
    """
    folder = ComparisonFolder(front)
    record = Compared.read(folder.record)
    seed = record.seeds[0] if record.seeds else 0
    recipes = {
        name: load_recipe(folder.run(name, seed).recipe)
        for name, method in record.methods.items()
        if method.status == "done" and not method.baseline
    }
    configs = {name: recipe.find(STAGE) for name, recipe in recipes.items()}
    trained = {name: config.weight for name, config in configs.items() if isinstance(config, MODPOConfig)}
    if record.front is None or len(trained) < 2:
        raise InputError(f"{folder.path} holds no front of two models at least; make one with `homestretch front`.")
    low, high = min(trained, key=trained.__getitem__), max(trained, key=trained.__getitem__)
    if not trained[low] < weight < trained[high]:
        raise InputError(
            f"The weight {weight:g} is not between those of the outermost models, {trained[low]:g} and "
            f"{trained[high]:g}; choose another."
        )
    share = (weight - trained[low]) / (trained[high] - trained[low])
    models = {str(folder.path / name / "{seed}" / "model"): part for name, part in ((low, 1 - share), (high, share))}
    evaluation = recipes[low].find("evaluate")
    assert evaluation is not None
    settings = evaluation.model_dump(mode="json")
    return compare(
        recipes | {f"soup{weight:g}": _instead_of_training(recipes[low], SoupConfig(models=models))},
        out=front,
        seeds=record.seeds,
        objectives=record.front.objectives,
        overrides=[f"evaluate.{key}={json.dumps(value)}" for key, value in settings.items()],
    )


def _instead_of_training(recipe: Recipe, config: SoupConfig) -> Recipe:
    stages = [Stage(name="soup", config=config) if stage.kind == STAGE else stage for stage in recipe.stages]
    return recipe.model_copy(update={"stages": stages})

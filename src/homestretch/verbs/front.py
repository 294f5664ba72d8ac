"""Recipes of several objectives at several weights: families of models, and the front of what they reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from homestretch.compared import Compared, ComparisonFolder
from homestretch.config.front import at_weights, evaluation_of, judged, objectives_of, swept
from homestretch.config.measured import VERDICT
from homestretch.config.methods import Source, loaded, named_files
from homestretch.config.recipe import Recipe, load_recipe
from homestretch.config.yaml import inline
from homestretch.errors import RecipeError
from homestretch.verbs.compare import compare
from homestretch.verbs.run import Overrides, as_texts

WEIGHTS = (0.1, 0.3, 0.5, 0.7, 0.9)


def front(
    recipes: Source | Sequence[str | Path] | Mapping[str, Source],
    *,
    out: str | Path,
    weights: Sequence[float] = WEIGHTS,
    objectives: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    overrides: Overrides = (),
) -> Compared:
    """Train a recipe at each weight of its first objective, evaluate all on the same prompts, and write the front.

    `recipes`: one, or several to compare: the last stage of each that has the weights of several objectives gets them
    (`modpo`, `dpo`, `ppo`, `rloo`, `grpo`, `best_of`, `soup`). `weights`: shares of the first objective, 0 to 1 (of
    `modpo` 0.01 to 1). `objectives`: metrics that stand for the objectives; by default the reward model's score (or
    la-ROUGE-L) and the other rewards. What the models have in common is computed once a seed. The folder is a
    comparison of methods `w0.1`, `w0.3`, ..., of several recipes `modpo-w0.1`, ...; the model of a weight and seed is
    `OUT/w0.1/0/model`. Soups that have been added to the folder stay in it. Raises RecipeError and InputError.
    """
    texts = as_texts(overrides)
    ours = [text for text in texts if text.partition("=")[0].split(".")[0].strip() == "evaluate"]
    families = families_of(recipes, [text for text in texts if text not in ours])
    metrics = list(objectives) or common_objectives(families)
    methods = {
        name: {f"{name}-{weight}" if name else weight: at for weight, at in at_weights(recipe, weights).items()}
        for name, recipe in families.items()
    }
    return compare(
        {method: recipe for family in methods.values() for method, recipe in family.items()} | soups_in(out),
        out=out,
        seeds=seeds,
        objectives=metrics,
        families={name: list(family) for name, family in methods.items() if name},
        overrides=[*evaluation_of(list(families.values())), f"evaluate.metric_for_verdict={inline(metrics[0])}", *ours],
    )


def soups_in(folder: str | Path) -> dict[str, Recipe]:
    """The soups that a front in this folder has, by name; none where there is no front yet. One whose folder has been
    deleted has left it."""
    place = ComparisonFolder(folder)
    if not place.record.is_file():
        return {}
    record = Compared.read(place.record)
    soups = record.front.soups if record.front is not None else {}
    return {name: load_recipe(file) for name, file in place.recipes(soups, record.seeds[0]).items()}


def families_of(
    recipes: Source | Sequence[str | Path] | Mapping[str, Source], overrides: Sequence[str]
) -> dict[str, Recipe]:
    """The recipes by name: of one none, of several files that of the stage with the weights where it tells them
    apart, else that of the file. Raises RecipeError."""
    if isinstance(recipes, str | Path | Recipe) or (isinstance(recipes, Mapping) and "stages" in recipes):
        return loaded({"": recipes}, overrides)
    if not recipes:
        raise RecipeError("A front needs a recipe at least; see `homestretch recipes ls`.")
    if isinstance(recipes, Mapping):
        return loaded(recipes, overrides)
    if len(recipes) == 1:
        return loaded({"": recipes[0]}, overrides)
    found = loaded(named_files(recipes), overrides)
    stages = [swept(recipe).name for recipe in found.values()]
    return dict(zip(stages if len(set(stages)) == len(stages) else found, found.values(), strict=True))


def common_objectives(families: Mapping[str, Recipe]) -> list[str]:
    """The metrics that stand for the objectives of all. Raises RecipeError where recipes trade other things off."""
    asked = judged(list(families.values()))
    # A soup of models does not say what they are good at; others beside it do.
    telling = {name: r for name, r in families.items() if swept(r).kind != "soup"} or families
    found = {name: objectives_of(recipe, VERDICT, judged=asked) for name, recipe in telling.items()}
    (first, metrics), *others = found.items()
    for name, theirs in others:
        if theirs != metrics:
            raise RecipeError(
                f"`{first}` trades off {' and '.join(metrics)}, `{name}` {' and '.join(theirs)}; name the rewards "
                "alike and in the same order, or say with `--objectives` by which metrics to draw the front."
            )
    return metrics

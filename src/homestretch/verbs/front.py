"""One recipe of several objectives at several weights: a family of models, and the front of what they reach."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from homestretch.compared import Compared
from homestretch.config.front import at_weights, evaluation_of, objectives_of
from homestretch.config.recipe import Recipe, load_recipe
from homestretch.config.shipped import find_recipe
from homestretch.verbs.compare import compare
from homestretch.verbs.run import Overrides, as_texts

WEIGHTS = (0.1, 0.3, 0.5, 0.7, 0.9)
HEADLINE = "la_rougeL"


def front(
    recipe: str | Path | Recipe | dict[str, Any],
    *,
    out: str | Path,
    weights: Sequence[float] = WEIGHTS,
    objectives: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    overrides: Overrides = (),
) -> Compared:
    """Train the recipe's stage `modpo` at each weight, evaluate all on the same prompts, and write the front.

    `weights`: shares of the objective by which the pairs are ordered, 0.01 to 1. `objectives`: metrics that stand for
    the objectives; by default the reward model's score (or la-ROUGE-L) and the other rewards. Everything before
    `modpo`, and the reference's log-probabilities, are computed once a seed. The folder is a comparison of methods
    `w0.1`, `w0.3`, ...; the model of a weight and seed is `OUT/w0.3/0/model`. Raises RecipeError and InputError.
    """
    texts = as_texts(overrides)
    ours = [text for text in texts if text.partition("=")[0].split(".")[0].strip() == "evaluate"]
    given = recipe if isinstance(recipe, Recipe | dict) else find_recipe(recipe)
    values = given.model_dump(mode="json") if isinstance(given, Recipe) else given
    loaded = load_recipe(values, [text for text in texts if text not in ours])
    metrics = list(objectives) or objectives_of(loaded, HEADLINE)
    return compare(
        at_weights(loaded, weights),
        out=out,
        seeds=seeds,
        objectives=metrics,
        overrides=[*evaluation_of(loaded), f"evaluate.metric_for_verdict={metrics[0]}", *ours],
    )

"""A recipe of several objectives as one method for each choice of their shares."""

from __future__ import annotations

import json
from collections.abc import Sequence

from homestretch.config.modpo import LEAST_WEIGHT, MODPOConfig
from homestretch.config.recipe import Recipe, Stage
from homestretch.errors import RecipeError

STAGE = "modpo"


def at_weights(recipe: Recipe, weights: Sequence[float]) -> dict[str, Recipe]:
    """The recipe at each share of the objective by which its pairs are ordered, by names such as `w0.3`.

    The others divide the rest as they do in the recipe. Raises RecipeError.
    """
    config = _config(recipe)
    rest = sum(term.weight for term in config.rewards.values())
    if not rest:
        raise RecipeError("The stage `modpo` names no other objective with a share; give it `rewards`.")
    if len(set(weights)) < 2:
        raise RecipeError("A front needs two weights at least, as in `--weights 0.2,0.5,0.8`.")
    made = {}
    for weight in weights:
        if not LEAST_WEIGHT <= weight <= 1:
            raise RecipeError(f"The weight {weight:g} is not between {LEAST_WEIGHT} and 1; leave it out.")
        rewards = {
            name: term.model_copy(update={"weight": term.weight * (1 - weight) / rest})
            for name, term in config.rewards.items()
        }
        at = config.model_copy(update={"weight": weight, "rewards": rewards})
        stages = [Stage(name=s.name, config=at) if s.kind == STAGE else s for s in recipe.stages]
        made[f"w{weight:g}"] = recipe.model_copy(update={"stages": stages})
    return made


def objectives_of(recipe: Recipe, headline: str) -> list[str]:
    """The metrics that stand for the recipe's objectives: the reward model's score, or without one `headline`, and the
    other objectives' rewards. Raises RecipeError for one that outputs cannot be asked for."""
    config = _config(recipe)
    for name, term in config.rewards.items():
        if term.column is not None or term.policy is not None:
            raise RecipeError(
                f"The objective `{name}` is no reward that can be asked of what a model writes; say with "
                "`--objectives` by which metrics to draw the front."
            )
    own = "rewards/model" if recipe.find("reward") is not None else headline
    return [own, *(f"rewards/{name}" for name in config.rewards)]


def evaluation_of(recipe: Recipe) -> list[str]:
    """Overrides that make an evaluation measure the objectives, and how far sampled outputs are from the start."""
    terms = {
        name: term.model_dump(exclude_defaults=True, exclude={"policy", "weight"}) or 1.0
        for name, term in _config(recipe).rewards.items()
        if term.column is None and term.policy is None
    }
    if recipe.find("reward") is not None:
        terms["model"] = 1.0
    return [f"evaluate.rewards={json.dumps(terms)}", "evaluate.sampled=true", "evaluate.score_kl=true"]


def _config(recipe: Recipe) -> MODPOConfig:
    config = recipe.find(STAGE)
    if not isinstance(config, MODPOConfig):
        raise RecipeError(
            "A front is made of a recipe with a stage `modpo`; see `homestretch recipes cat modpo/docstrings`."
        )
    return config

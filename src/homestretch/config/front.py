"""A recipe of several objectives as one method for each choice of their shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from homestretch.config.base import Config
from homestretch.config.modpo import MODPOConfig
from homestretch.config.objectives import ORDER, ObjectivesConfig
from homestretch.config.recipe import Recipe, Stage
from homestretch.config.rewards import MODEL, RewardTerm
from homestretch.config.yaml import inline
from homestretch.errors import RecipeError


def swept(recipe: Recipe) -> Stage:
    """The last stage that trades two objectives at least off against each other. Raises RecipeError."""
    for stage in reversed(recipe.stages):
        if len(stage.config.shares) > 1:
            return stage
    raise RecipeError(
        "A front is made of a recipe with a stage that has the weights of two objectives: `modpo` or `dpo` with "
        "`rewards`, `ppo`, `rloo`, `grpo` or `best_of` with two `rewards` (`model` is the reward model's), or `soup`; "
        "see `homestretch recipes cat modpo/docstrings`."
    )


def share_of(config: Config) -> float:
    """The share of the first objective, 0 to 1."""
    shares = list(config.shares.values())
    return shares[0] / sum(shares)


def at_weights(recipe: Recipe, weights: Sequence[float]) -> dict[str, Recipe]:
    """The recipe at each share of its first objective, by names such as `w0.3`.

    The first objective of pairs is that by which they are ordered, of rewards and models the one that is named first.
    The others divide the rest as they do in the recipe, and the sum of all weights stays. Raises RecipeError.
    """
    stage = swept(recipe)
    (first, share), *others = stage.config.shares.items()
    rest = sum(weight for _, weight in others)
    if negative := next((name for name, weight in stage.config.shares.items() if weight < 0), None):
        raise RecipeError(
            f"The weight of `{negative}` is negative, and shares are 0 to 1; turn the reward round, by another `label` "
            "of a classifier say, and give it a positive weight."
        )
    if rest <= 0:
        raise RecipeError(f"The stage `{stage.name}` names no other objective with a share; give one a weight.")
    if len(set(weights)) < 2:
        raise RecipeError("A front needs two weights at least, as in `--weights 0.2,0.5,0.8`.")
    made = {}
    total = 1.0 if isinstance(stage.config, ObjectivesConfig) else share + rest  # sums on the simplex are rounded
    for weight in weights:
        if not stage.config.least_share <= weight <= 1:
            raise RecipeError(_no_share(stage.config, weight))
        shares = {first: weight * total, **{name: own * (1 - weight) * total / rest for name, own in others}}
        at = stage.config.with_shares(shares)
        stages = [Stage(name=s.name, config=at) if s is stage else s for s in recipe.stages]
        made[f"w{weight:g}"] = recipe.model_copy(update={"stages": stages})
    return made


def _no_share(config: Config, weight: float) -> str:
    sentence = f"The weight {weight:g} is not between {config.least_share:g} and 1"
    if isinstance(config, MODPOConfig) and 0 <= weight < config.least_share:
        return f"{sentence}: `modpo` divides by it, and {config.without_order}; leave it out."
    return f"{sentence}; leave it out."


def objectives_of(recipe: Recipe, headline: str, *, judged: bool) -> list[str]:
    """The metrics that stand for the recipe's objectives, in their order: of pairs' own order the reward model's score
    if outputs are `judged` by one that is no other objective, else `headline`. Raises RecipeError for one that outputs
    cannot be asked for."""
    stage = swept(recipe)
    terms = _terms(stage)
    if not terms:
        raise RecipeError("Models are mixed here, not objectives; say with `--objectives` by which metrics to draw.")
    for name, term in terms.items():
        if not _of_outputs(term):
            raise RecipeError(
                f"The objective `{name}` is no reward that can be asked of what a model writes; say with "
                "`--objectives` by which metrics to draw the front."
            )
    own = "rewards/model" if judged and MODEL not in terms else headline
    return [own if name == ORDER else f"rewards/{name}" for name in stage.config.shares]


def judged(recipes: Sequence[Recipe]) -> bool:
    """Whether every recipe has a reward model, so that it can be asked about the outputs of all."""
    return all(r.find("reward") is not None or r.reward_model_name_or_path is not None for r in recipes)


def evaluation_of(recipes: Sequence[Recipe]) -> list[str]:
    """Overrides that make an evaluation measure the objectives of all, and how far sampled outputs are from the start.

    Raises RecipeError where two recipes mean different rewards by one name.
    """
    terms: dict[str, object] = {}
    for recipe in recipes:
        for name, term in _terms(swept(recipe)).items():
            if name != MODEL and _of_outputs(term):
                plain = term.model_dump(exclude_defaults=True, exclude={"policy", "weight"}) or 1.0
                if terms.setdefault(name, plain) != plain:
                    raise RecipeError(f"Two recipes mean different rewards by `{name}`; call one by another name.")
    if judged(recipes):
        terms[MODEL] = 1.0
    return [f"evaluate.rewards={inline(terms)}", "evaluate.sampled=true", "evaluate.score_kl=true"]


def _terms(stage: Stage) -> Mapping[str, RewardTerm]:
    terms: Mapping[str, RewardTerm] = getattr(stage.config, "rewards", {})
    return terms


def _of_outputs(term: RewardTerm) -> bool:
    return term.column is None and "policy" not in term.sources

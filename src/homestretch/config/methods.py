"""Several recipes as methods to compare: one budget, one evaluation, and the baseline that they have in common.

The last stage of a recipe that trains the policy is what the recipe is about: it gets the budget. A stage on which
another recipe goes on training is common ground and keeps its own length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homestretch.config.base import nearest
from homestretch.config.evaluate import EvaluateConfig
from homestretch.config.overrides import apply
from homestretch.config.recipe import Recipe, Stage, load_recipe, parse_stages
from homestretch.config.rewards import MODEL
from homestretch.config.shipped import find_recipe
from homestretch.config.stages import LIKELIHOOD, TRAINS_POLICY
from homestretch.config.training import TrainingConfig
from homestretch.config.yaml import Document
from homestretch.errors import RecipeError

BASELINE = "ml"
UNITS = ("tokens", "samples", "seconds")
SAME = ("model_name_or_path", "model_revision", "dtype", "dataset")
"""What all recipes must agree in."""

Budget = dict[str, int]
Source = Recipe | str | Path | dict[str, Any]


@dataclass(frozen=True)
class Method:
    """A recipe of the comparison. `limited` is the stage that has the budget, if any; `baseline` marks what the others
    go on from."""

    name: str
    recipe: Recipe
    limited: str | None = None
    baseline: bool = False

    def of_seed(self, seed: int) -> Recipe:
        """The recipe with this seed."""
        return self.recipe.model_copy(update={"seed": seed})


def parse_budget(text: str | None) -> Budget:
    """`tokens=200000` as {"tokens": 200000}; None is no budget. Raises RecipeError."""
    if text is None:
        return {}
    unit, _, count = text.partition("=")
    unit = unit.strip()
    if unit not in UNITS:
        raise RecipeError(f"budget `{text}`: {nearest(unit, list(UNITS))} Write for example `tokens=200000`.")
    number = count.strip().replace("_", "")
    if not number:
        raise RecipeError(f"budget `{text}`: `{unit}` has no number; write `{unit}=200000`.")
    if not number.isdecimal() or int(number) == 0:
        raise RecipeError(f"budget `{text}`: {count.strip()!r} is no whole number above 0; write `{unit}=200000`.")
    return {unit: int(number)}


def load_methods(
    sources: Sequence[str | Path] | Mapping[str, Source], overrides: Sequence[str], budget: Budget
) -> tuple[list[Method], EvaluateConfig]:
    """The methods, the baseline first, and how they are evaluated.

    Settings of a stage go to the recipes that have it, `evaluate.key=value` to the evaluation of all. Raises
    RecipeError: fewer than two recipes, two of one name, other data or another model, an override that fits none, or
    an evaluation of the baseline with each.
    """
    named = dict(sources) if isinstance(sources, Mapping) else named_files(sources)
    if len(named) < 2:
        raise RecipeError("A comparison needs two recipes at least; see `homestretch recipes ls`.")
    if BASELINE in named:
        raise RecipeError(f"`{BASELINE}` is the name of what the recipes have in common; rename the recipe.")
    ours = [text for text in overrides if text.partition("=")[0].split(".")[0].strip() == "evaluate"]
    rest = [text for text in overrides if text not in ours]
    recipes = {name: _trained(name, recipe) for name, recipe in loaded(named, rest).items()}
    _refuse_different(recipes)
    made = [_method(name, recipe, recipes, budget) for name, recipe in recipes.items()]
    evaluation = _evaluation(ours)
    judged = MODEL in evaluation.rewards
    return [_evaluated(method, evaluation) for method in _with_baseline(made, recipes, judged)], evaluation


def named_files(sources: Sequence[str | Path]) -> dict[str, Source]:
    """Names of files: their stems, with the folder before them where two are the same. Raises RecipeError where that is
    not enough to tell them apart."""
    paths = [find_recipe(source) for source in sources]
    stems = [path.stem for path in paths]
    names = stems if len(set(stems)) == len(stems) else [f"{p.resolve().parent.name}-{p.stem}" for p in paths]
    for name in names:
        if names.count(name) > 1:
            raise RecipeError(
                f"Two recipes are called `{name}`; rename a file, so that the report can tell them apart."
            )
    return dict(zip(names, paths, strict=True))


def loaded(named: Mapping[str, Source], overrides: Sequence[str]) -> dict[str, Recipe]:
    """The recipes with the overrides that fit them; one that fits none is refused by the first. Raises RecipeError."""
    plain = {name: _plain(source) for name, source in named.items()}
    kinds = {name: {stage.name for stage in load_recipe(source).stages} for name, source in plain.items()}

    def fits(name: str, text: str) -> bool:
        first = text.partition("=")[0].split(".")[0].strip()
        if first == "seed":
            raise RecipeError(f"override `{text}`: the seeds of a comparison are those of `--seeds`.")
        # What no recipe has is given to all, so that the first one refuses it.
        return first in kinds[name] or not any(first in other for other in kinds.values())

    return {name: load_recipe(source, [o for o in overrides if fits(name, o)]) for name, source in plain.items()}


def _plain(source: Source) -> Path | dict[str, Any]:
    if isinstance(source, Recipe):
        return source.model_dump(mode="json")
    return source if isinstance(source, dict) else find_recipe(source)


def _trained(name: str, recipe: Recipe) -> Recipe:
    """The recipe without stages that only look at results, and without what a single run does at its end."""
    stages = [stage for stage in recipe.stages if stage.kind not in ("evaluate", "report")]
    if not any(stage.kind in TRAINS_POLICY for stage in stages):
        raise RecipeError(
            f"The recipe `{name}` trains no model; it needs one of the stages {', '.join(TRAINS_POLICY)}."
        )
    return recipe.model_copy(update={"stages": stages, "output_dir": None, "push_to_hub": False, "hub_model_id": None})


def _refuse_different(recipes: Mapping[str, Recipe]) -> None:
    (first, reference), *others = recipes.items()
    for name, recipe in others:
        for key in SAME:
            ours, theirs = getattr(reference, key), getattr(recipe, key)
            if ours != theirs:
                what = "" if key == "dataset" else f" ({ours!r} and {theirs!r})"
                raise RecipeError(
                    f"`{first}` and `{name}` differ in `{key}`{what}, so their results cannot be compared; "
                    f"set it for all, as in `{'dataset.max_train=400' if key == 'dataset' else f'{key}={ours}'}`."
                )


def _steps(recipe: Recipe, index: int) -> tuple[tuple[str, str], ...]:
    """Everything up to the stage with this index, as a key."""
    return tuple((stage.name, stage.config.model_dump_json()) for stage in recipe.stages[: index + 1])


def _policy_stages(recipe: Recipe) -> list[int]:
    return [i for i, stage in enumerate(recipe.stages) if stage.kind in TRAINS_POLICY]


def _method(name: str, recipe: Recipe, recipes: Mapping[str, Recipe], budget: Budget) -> Method:
    last = _policy_stages(recipe)[-1]
    built_on = {_steps(other, i) for other in recipes.values() for i in _policy_stages(other)[:-1]}
    stage = recipe.stages[last]
    # What takes no steps, a soup say, has nothing to limit.
    if not budget or _steps(recipe, last) in built_on or not isinstance(stage.config, TrainingConfig):
        return Method(name, recipe)
    limited = Stage(name=stage.name, config=stage.config.model_copy(update={"train_until": budget}))
    stages = [limited if i == last else stage for i, stage in enumerate(recipe.stages)]
    return Method(name, recipe.model_copy(update={"stages": stages}), limited=stage.name)


def _with_baseline(methods: list[Method], recipes: Mapping[str, Recipe], judged: bool) -> list[Method]:
    """The baseline in front: the maximum-likelihood stage that two recipes share, or the recipe that is just that.

    Where its outputs are judged by the run's reward model, it keeps what is made before the next training.
    """
    starts = [
        (recipe, first)
        for recipe in recipes.values()
        if recipe.stages[first := _policy_stages(recipe)[0]].kind in LIKELIHOOD
    ]
    keys = [_steps(recipe, first) for recipe, first in starts]
    for (recipe, first), key in zip(starts, keys, strict=True):
        if keys.count(key) > 1:
            alone = next((m for m in methods if _steps(m.recipe, len(m.recipe.stages)) == key), None)
            if alone is not None:
                marked = Method(alone.name, alone.recipe, alone.limited, baseline=True)
                return [marked, *(m for m in methods if m is not alone)]
            end = next((i for i in _policy_stages(recipe) if i > first), first + 1) if judged else first + 1
            common = recipe.model_copy(update={"stages": recipe.stages[:end]})
            return [Method(BASELINE, common, baseline=True), *methods]
    return methods


def _evaluation(overrides: Sequence[str]) -> EvaluateConfig:
    start = Document({"stages": [{"evaluate": {"sampled": False, "baseline": False}}]}, "compare")
    document = apply(start, list(overrides), known=[])
    [stage] = parse_stages(document.values["stages"], where=lambda path: document.where(("stages", *path)))
    assert isinstance(stage.config, EvaluateConfig)
    if stage.config.baseline:
        raise RecipeError("`evaluate.baseline`: the baseline of a comparison is a method of its own; leave it out.")
    return stage.config


def _evaluated(method: Method, evaluation: EvaluateConfig) -> Method:
    stages = [*method.recipe.stages, Stage(name="evaluate", config=evaluation)]
    recipe = method.recipe.model_copy(update={"stages": stages})
    return Method(method.name, recipe, method.limited, method.baseline)

"""Models of other runs that a stage names: policies of other objectives, and what a soup is made of."""

from __future__ import annotations

from pathlib import Path

from homestretch.config.base import Config
from homestretch.config.modpo import MODPOConfig
from homestretch.config.objectives import ObjectivesConfig
from homestretch.config.recipe import Recipe, Stage, load_recipe
from homestretch.config.seeded import of_seed
from homestretch.config.soup import SoupConfig
from homestretch.config.stages import TRAINS_POLICY
from homestretch.errors import RecipeError
from homestretch.policies.load import load_config
from homestretch.results import RunFolder


def policies_of(config: Config, seed: int) -> dict[str, str]:
    """The model behind each objective that is a policy, by the objective's name; none for other settings."""
    terms = config.rewards if isinstance(config, ObjectivesConfig) else {}
    return {name: of_seed(term.policy, seed) for name, term in terms.items() if term.policy is not None}


def named_models(config: Config, seed: int) -> list[str]:
    """Every model that the settings name: policies, and those of a soup."""
    mixed = config.models if isinstance(config, SoupConfig) else {}
    return [*policies_of(config, seed).values(), *(of_seed(model, seed) for model in mixed)]


def check_models(recipe: Recipe, own: Path) -> None:
    """Raise InputError for a named model that is not there, and for a policy that was trained with another beta than
    that by which its reward is taken. What lies below the folder `own`, of the run or of the comparison that it is part
    of, may still have to be made, and is not looked for."""
    for stage in recipe.stages:
        for model in named_models(stage.config, recipe.seed):
            if not lies_below(model, own):
                load_config(model, trust_remote_code=recipe.trust_remote_code)
        # A DPO loss of a reward takes its sign alone, which beta does not change.
        if isinstance(stage.config, MODPOConfig):
            for name, model in policies_of(stage.config, recipe.seed).items():
                refuse_other_beta(stage, name, model, stage.config.beta)


def lies_below(model: str, own: Path) -> bool:
    """Whether a named model is below the folder `own`, so that it may still have to be made."""
    return Path(model).resolve().is_relative_to(own.resolve())


def refuse_other_beta(stage: Stage, name: str, model: str, beta: float) -> None:
    """Raise RecipeError where the policy of an objective is known to have been trained with another beta."""
    trained = trained_beta(model)
    if trained is not None and trained != beta:
        raise RecipeError(
            f"The stage `{stage.name}`: `{name}` is {model}, which was trained with beta {trained:g}, and beta "
            f"{beta:g} would scale its reward wrongly; set {stage.name}.beta={trained:g}, or train that policy again."
        )


def trained_beta(model: str) -> float | None:
    """The beta, per nat, with which a run of `dpo` or `modpo` made the model in a folder of its run; None where that
    is not known."""
    stage = maker(Path(model))
    return stage.config.beta if stage is not None and isinstance(stage.config, ObjectivesConfig) else None


def maker(model: Path) -> Stage | None:
    """The stage that made the model, of `RUN/model` or `RUN/stages/NN-name/model`; None without such a run."""
    folder = model.absolute().parent
    of_stage = folder.parent.name == "stages"
    file = RunFolder(folder.parent.parent if of_stage else folder).recipe
    try:
        stages = load_recipe(file).stages if file.is_file() else []
    except RecipeError:  # of another version
        return None
    trained = [stage for stage in stages if stage.kind in TRAINS_POLICY]
    if of_stage:
        trained = [stage for stage in trained if stage.name == folder.name.partition("-")[2]]
    return trained[-1] if trained else None

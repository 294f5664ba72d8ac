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
from homestretch.policies.load import load_config, resolve
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
                load_config(model, **recipe.load_options(model))
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
    made = makers(Path(model))
    config = made[-1][0].config if made else None
    return config.beta if isinstance(config, ObjectivesConfig) else None


def start_of(model: str) -> str | None:
    """The model that the last stage began with which made the model in a folder of its run; None where that is not
    known, or not on this machine."""
    match makers(Path(model)):
        case [*_, (_, before), _]:
            start = before
        case [_]:
            start = load_recipe(_run_of(Path(model)).recipe).model_name_or_path
        case _:
            return None
    return start if Path(resolve(start)).is_dir() else None


def makers(model: Path) -> list[tuple[Stage, str]]:
    """The stages that made the model in `RUN/model` or `RUN/stages/NN-name/model`, in order, each with its own model;
    none without such a run."""
    run, folder = _run_of(model), model.absolute().parent
    try:
        stages = load_recipe(run.recipe).stages if run.recipe.is_file() else []
    except RecipeError:  # of another version
        return []
    made = [
        (stage, run.stage(number, stage.name).model)
        for number, stage in enumerate(stages, start=1)
        if stage.kind in TRAINS_POLICY
    ]
    if folder.parent.name == "stages":
        names = [own.parent.name for _, own in made]
        made = made[: names.index(folder.name) + 1] if folder.name in names else []
    return [(stage, str(own)) for stage, own in made if stage.kind != "best_of"]  # its model is the one before it


def _run_of(model: Path) -> RunFolder:
    folder = model.absolute().parent
    return RunFolder(folder.parent.parent if folder.parent.name == "stages" else folder)

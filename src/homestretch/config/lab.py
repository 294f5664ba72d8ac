"""Settings of the lab of teacher hacking, and the recipes that it is made of.

    oracle   sft on the data's pairs, from nothing; or a given model
    teacher  sft on samples of the oracle
    student  sft on the same samples, then `distill` on other prompts, once for each case of the sweeps

Overrides are `lab.KEY=VALUE` for the settings here, `oracle.KEY=VALUE` for the oracle's training, `sft.KEY=VALUE` for
that of teacher and student, `distill.KEY=VALUE`, and shared ones such as `dataset.max_completion_length=48`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt

from homestretch.config.base import Config, nearest
from homestretch.config.distill import DistillConfig
from homestretch.config.overrides import apply
from homestretch.config.recipe import Recipe, load_recipe
from homestretch.config.yaml import Document
from homestretch.errors import RecipeError

Sweep = Literal["sources", "prompts", "generations", "loss"]
BASELINE = "offline"
KEPT = ("prompt_suffix", "max_prompt_length", "max_completion_length", "truncate")
"""What the recipes of teacher and student take over from the data's settings."""


def _of_heads(widths: tuple[int, int, int]) -> tuple[int, int, int]:
    if any(width % 16 for width in widths):
        raise ValueError("a width is a multiple of 16; make them so")
    return widths


Three = tuple[PositiveInt, PositiveInt, PositiveInt]


class LabConfig(Config):
    """Sizes of the lab. Three numbers are those of oracle, teacher and student."""

    oracle_prompts: NonNegativeInt = 300
    """Prompts to which the oracle writes what teacher and student are trained on; 0 takes both as they are. Origin:
    sheet 9, an eighth to a half of `distill_prompts`."""
    distill_prompts: PositiveInt = 640
    """Other prompts, on which the student meets the teacher."""
    validation_prompts: PositiveInt = 96
    """Prompts on whose texts distances are measured."""
    epochs: PositiveInt = 50
    """Passes of the student over `distill_prompts` texts; every case takes as many steps. Origin: paper."""
    evaluations: Annotated[int, Field(ge=4)] = 40
    """Times that the distances are measured in a run, beside its start; a power law needs 24."""
    vocabulary: Annotated[int, Field(ge=300)] = 1000
    """Tokens of the tokenizer that is learnt from the data, where no model or tokenizer is given."""
    widths: Annotated[Three, AfterValidator(_of_heads)] = (128, 80, 64)
    """Widths of models that are trained from nothing."""
    layers: Three = (3, 2, 2)
    """Their layers."""


class Case(Config):
    """One way of distilling: what it changes of the stage's settings, and the share of the prompts that it has."""

    sweep: Sweep
    settings: dict[str, Any] = {}
    divide: PositiveInt = 1
    """The prompts are one in so many, with as many texts each."""


CASES: dict[str, Case] = {
    BASELINE: Case(sweep="sources", settings={"source": "offline"}),
    "online_teacher": Case(sweep="sources", settings={"source": "online_teacher"}),
    "online_student": Case(sweep="sources", settings={"source": "online_student"}),
    "prompts_half": Case(sweep="prompts", divide=2),
    "prompts_fifth": Case(sweep="prompts", divide=5),
    "generations_2": Case(sweep="generations", settings={"num_generations": 2}),
    "generations_5": Case(sweep="generations", settings={"num_generations": 5}),
    "reverse_kl": Case(sweep="loss", settings={"divergence": "reverse_kl"}),
    "jsd": Case(sweep="loss", settings={"divergence": "jsd"}),
}
"""Everything but the first three learns offline; the first is what the others are compared with."""


def cases(sweeps: Sequence[str]) -> dict[str, Case]:
    """The cases of some sweeps, the baseline always among them. Raises RecipeError."""
    known = list(dict.fromkeys(case.sweep for case in CASES.values()))
    for sweep in sweeps:
        if sweep not in known:
            raise RecipeError(f"There is no sweep `{sweep}`; {nearest(sweep, [str(name) for name in known])}")
    return {name: case for name, case in CASES.items() if case.sweep in sweeps or name == BASELINE}


def check_free(chosen: Mapping[str, Case], overrides: Sequence[str]) -> None:
    """Raise RecipeError where an override `distill.KEY=VALUE` sets what the cases differ in."""
    differs = {"num_generations", *(key for case in chosen.values() for key in case.settings)}
    for text in overrides:
        key = text.partition("=")[0].strip().removeprefix("distill.")
        if key in differs:
            raise RecipeError(
                f"override `{text}`: cases of the lab differ in `{key}` and set it themselves; remove it."
            )


class LabOverrides(Config):
    """What the user has set, by the part that it is for."""

    lab: LabConfig
    oracle: list[str]
    sft: list[str]
    distill: list[str]
    shared: list[str]

    @classmethod
    def of(cls, texts: Sequence[str]) -> LabOverrides:
        """Sort overrides by their first word. Raises RecipeError."""
        parts: dict[str, list[str]] = {"lab": [], "oracle": [], "sft": [], "distill": [], "shared": []}
        for text in texts:
            part = text.partition("=")[0].partition(".")[0].strip()
            parts[part if part in parts and part != "shared" else "shared"].append(text)
            if part == "seed":
                raise RecipeError(f"override `{text}`: the lab has several seeds; say which with `--seeds 0,1,2`.")
        own = [text.strip().removeprefix("lab.") for text in parts.pop("lab")]
        values = apply(Document({}, "lab"), own, known=list(LabConfig.model_fields)).values
        # The stage of the oracle's recipe is called `sft` too.
        parts["oracle"] = ["sft." + text.strip().removeprefix("oracle.") for text in parts["oracle"]]
        return cls(lab=LabConfig.parse(values, where="lab"), **parts)


def sft_recipe(model: str, dataset: Mapping[str, Any], *, scratch: bool, seed: int, overrides: list[str]) -> Recipe:
    """Training on pairs; the checkpoint with the least validation loss is kept. Origin: sheet 3."""
    settings: dict[str, Any] = {"metric_for_best_model": "nll"}
    if scratch:
        settings |= {"use_peft": False, "bf16": False, "learning_rate": 2e-3, "eval_examples": 64}
        settings |= {"train_batch_size": 32, "max_steps": 400, "eval_steps": 25, "save_steps": 200}
        settings |= {"lr_scheduler_type": "cosine", "doctor": "off"}
    return _recipe(model, dataset, {"sft": settings}, seed=seed, overrides=overrides)


def distill_recipe(
    student: str,
    dataset: Mapping[str, Any],
    case: Case,
    lab: LabConfig,
    *,
    oracle: str,
    teacher: str,
    scratch: bool,
    seed: int,
    overrides: list[str],
) -> Recipe:
    """One case: as many steps as the baseline takes for its passes, measured at equal distances."""
    settings: dict[str, Any] = {
        "teacher_name_or_path": teacher,
        "oracle_name_or_path": oracle,
        "metric_for_best_model": "none",
        "train_batch_size": 32,
        "eval_examples": lab.validation_prompts,
    }
    if scratch:
        settings |= {"use_peft": False, "bf16": False, "learning_rate": 1e-3}
    settings |= {"num_generations": case.divide} | case.settings
    asked = _recipe(student, dataset, {"distill": settings}, seed=seed, overrides=overrides).find("distill")
    assert isinstance(asked, DistillConfig)
    steps = lab.epochs * max(round(lab.distill_prompts / asked.train_batch_size), 1)
    every = max(steps // lab.evaluations, 1)
    settings |= {"max_steps": steps, "eval_steps": every, "save_steps": 10 * every}
    return _recipe(student, dataset, {"distill": settings}, seed=seed, overrides=overrides)


def _recipe(
    model: str, dataset: Mapping[str, Any], stage: dict[str, Any], *, seed: int, overrides: list[str]
) -> Recipe:
    values = {"model_name_or_path": model, "dataset": dict(dataset), "seed": seed, "stages": [stage]}
    return load_recipe(values, overrides)

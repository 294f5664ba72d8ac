"""A recipe: which model, which data, and the list of stages with their settings.

    model_name_or_path: builtin/smollm2-135m
    dataset: {name: builtin/docstrings}
    stages:
      - sft: {learning_rate: 5.0e-4}
      - evaluate

Everything is checked when it is read, before anything heavy is imported. `dump` writes the resolved recipe, every
default included; it is a valid recipe itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PositiveInt, SerializeAsAny, field_serializer, field_validator, model_validator

from homestretch.config.base import Config, Where
from homestretch.config.overrides import apply
from homestretch.config.stages import order_problem, parse_stage, stage_kind
from homestretch.config.yaml import Document, dump_text, load_file
from homestretch.errors import RecipeError

Split = Literal["train", "validation", "test"]


class DatasetConfig(Config):
    """The pairs: where they are, what their columns are called and how many are taken."""

    name: str = Field("builtin/docstrings", min_length=1)
    """`builtin/docstrings`, a file (JSONL, JSON, CSV, Parquet), a folder, or a name on the Hub."""
    split: dict[Split, str] = {}
    """Name of a split in the source, or its file, where it is not called `train`, `validation` or `test`."""
    columns: dict[str, str] = {}
    """Our column -> its name in the source, e.g. `{prompt: article, completion: highlights}`."""
    prompt_suffix: str = ""
    """Set behind every prompt that is text, so that the model sees where its answer begins, e.g. `"\\nSummary:"`. Rules
    and failure modes see the prompt without it. Chat messages have marks of their own."""
    max_train: PositiveInt | None = None
    """Training pairs at most; None takes all."""
    max_validation: PositiveInt | None = None
    """Validation pairs at most; they choose checkpoints."""
    max_test: PositiveInt | None = None
    """Test pairs at most; they are only reported."""
    max_prompt_length: PositiveInt = 512
    """Tokens of a prompt at most."""
    max_completion_length: PositiveInt = 96
    """Tokens of a completion at most, end marker included; also the limit of generation."""
    truncate: bool = False
    """Shorten prompts and completions that are too long; False treats such a row as a bad one."""
    on_bad_row: Literal["error", "skip"] = "error"
    """`skip` writes bad rows with their reasons to `rejected.jsonl` and goes on."""


class Stage(Config):
    """One step of a recipe: `name` is a key of STAGES, with a suffix (`ppo-2`) where it stands twice."""

    name: str
    config: SerializeAsAny[Config]

    @property
    def kind(self) -> str:
        """The key of STAGES."""
        return stage_kind(self.name)


class Recipe(Config):
    """A run, completely described."""

    model_name_or_path: str = Field("builtin/smollm2-135m", min_length=1)
    """`builtin/smollm2-135m`, a folder in Hugging Face format, or a name on the Hub; causal or encoder-decoder."""
    model_revision: str = "main"
    """Branch, tag or commit of a model on the Hub."""
    trust_remote_code: bool = False
    """Run code that comes with a model of the Hub. Leave it off unless you have read that code."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of the weights; `auto` is float32, with bfloat16 products where a stage's `bf16` says so."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; `auto` takes CUDA where there is any, else the CPU. Nobody has run `mps` yet."""
    use_liger_kernel: bool = False
    """Liger's fused kernels in the models that are trained (the extra `liger`, CUDA only); not yet tested on a GPU."""
    reward_model_name_or_path: str | None = None
    """A reward model of an earlier run, for a `ppo`, `rloo` or `grpo` without a `reward` stage before it."""
    dataset: DatasetConfig = DatasetConfig()
    """The pairs."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of everything that is drawn."""
    report_to: Literal["none", "tensorboard", "trackio", "wandb"] = "none"
    """Also log there; `metrics.jsonl` is always written."""
    push_to_hub: bool = False
    """Upload the final model when the run is done."""
    hub_model_id: str | None = None
    """Name of the uploaded model; None is the name of the output folder."""
    output_dir: str | None = None
    """The run folder; None is `runs/NAME-OF-THE-RECIPE`."""
    stages: list[Stage] = Field(min_length=1)
    """What to do, in order: a stage's name, or a mapping of the name to its settings."""

    @field_validator("stages", mode="before")
    @classmethod
    def _parse_stages(cls, items: Any) -> Any:
        return parse_stages(items, where="stages")

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if problem := order_problem([(s.name, s.config) for s in self.stages], _given(self.reward_model_name_or_path)):
            raise ValueError(problem[1])
        return self

    @field_serializer("stages")
    def _plain_stages(self, stages: list[Stage]) -> list[dict[str, Any]]:
        return [{s.name: s.config.model_dump(mode="json")} for s in stages]

    @property
    def longest_completion(self) -> tuple[int, str]:
        """Tokens of a completion at most, of the data or of what a stage samples, and the setting that says so."""
        given = [("dataset", self.dataset), *((stage.name, stage.config) for stage in self.stages)]
        lengths = [(getattr(c, "max_completion_length", None) or 0, f"{n}.max_completion_length") for n, c in given]
        return max(lengths, key=lambda found: found[0])

    def load_options(self, model: str | None = None) -> dict[str, Any]:
        """How a model is loaded, the recipe's own by default: its revision where it is that one, and whether code that
        comes with it may run."""
        own = model is None or model == self.model_name_or_path
        return {"revision": self.model_revision if own else None, "trust_remote_code": self.trust_remote_code}

    def find(self, kind: str) -> Config | None:
        """Settings of the last stage of this kind; None where there is none."""
        return next((s.config for s in reversed(self.stages) if s.kind == kind), None)


def load_recipe(source: str | Path | dict[str, Any], overrides: list[str] | None = None) -> Recipe:
    """A recipe from a file or from plain values, with `key=value`, `dataset.key=value` and `stage.key=value` on top.

    Raises RecipeError with one sentence that starts with `file:line`, or with the override that is wrong.
    """
    document = Document(source, "recipe") if isinstance(source, dict) else load_file(source)
    if not isinstance(document.values, dict):
        raise RecipeError(f"{document.name}: a recipe is a mapping with a key `stages`; see `homestretch recipes ls`.")
    document = apply(document, overrides or [], known=list(Recipe.model_fields))
    stages = parse_stages(document.values.get("stages"), where=lambda path: document.where(("stages", *path)))
    values = {**document.values, "stages": stages}
    if problem := order_problem([(s.name, s.config) for s in stages], _given(values.get("reward_model_name_or_path"))):
        raise RecipeError(f"{document.where(('stages', problem[0]))}: {problem[1]}")
    return Recipe.parse(values, where=document.where)


def dump(recipe: Recipe) -> str:
    """The resolved recipe as YAML, every default written out; `load_recipe` reads it back as an equal recipe."""
    return dump_text(recipe.model_dump(mode="json"))


def parse_stages(items: Any, *, where: Where) -> list[Stage]:
    """Stages from names, one-key mappings or Stage objects. Raises RecipeError."""

    def place(path: tuple[str | int, ...]) -> str:
        return where if isinstance(where, str) else where(path)

    if not isinstance(items, list | tuple) or not items:
        raise RecipeError(
            f"{place(())}: `stages` must be a list such as `[sft, evaluate, report]`; name a stage at least."
        )
    return [_stage(item, index, place) for index, item in enumerate(items)]


def _stage(item: Any, index: int, place: Any) -> Stage:
    if isinstance(item, Stage):
        return item
    if isinstance(item, str):
        item = {item: None}
    if not isinstance(item, dict) or len(item) != 1:
        raise RecipeError(
            f"{place((index,))}: a stage is a name, or one name with its settings, not {item!r}; "
            "put each stage behind its own dash, and its settings in braces or further to the right."
        )
    [(name, settings)] = item.items()
    return Stage(
        name=str(name), config=parse_stage(str(name), settings, where=lambda path: place((index, name, *path)))
    )


def _given(reward_model: Any) -> set[str]:
    return {"reward"} if reward_model else set()

"""The run folder: the one place that says which files a run leaves behind and what stands in them.

    run/
      recipe.yaml            resolved; itself a valid recipe
      environment.json       Environment
      stages/NN-name/        stage.json (StageRecord), metrics.jsonl, checkpoints/, model/
      evaluation/            generations.jsonl (a row per prompt and arm), results.json (Results)
      report.html
      model/                 the chosen final model

Every record carries `schema_version`. Files are written beside their place and renamed, so a reader sees the
old file or the new one and never half of either. Numbers must be finite: what cannot be measured is `None` or
left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from homestretch.errors import InputError
from homestretch.writing import write_text

SCHEMA_VERSION = 1
Status = Literal["pending", "running", "done", "failed"]


class Part(BaseModel):
    """A piece of a record: frozen, without unknown keys, its numbers finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Measured(Part):
    """A mean over `n` examples with the ends of its 95 % interval. Rates and scores of 0 to 100 are both fine."""

    value: float
    low: float
    high: float
    n: int = Field(ge=0)
    higher_is_better: bool | None = True
    """None: neither direction is better, as for a ratio whose best value is 1."""


class Length(Part):
    """How long the outputs of one arm are, in tokens of the policy."""

    mean: float
    p10: float
    median: float
    p90: float
    reference_mean: float | None = None
    """Mean length of the references, in the same unit."""


class Arm(Part):
    """One way of producing text, e.g. `ml_raw` (greedy) or `rl_raw@t1` (sampled at temperature 1)."""

    metrics: dict[str, Measured]
    failure_modes: dict[str, Measured] = {}
    """Rate in [0, 1] of outputs that show the failure, by rule. `any`: at least one failure."""
    length: Length | None = None

    @property
    def measured(self) -> dict[str, Measured]:
        """Metrics, and rates of failure modes as `failures/NAME`."""
        return self.metrics | {f"failures/{mode}": rate for mode, rate in self.failure_modes.items()}


class Comparison(Part):
    """Paired difference, value of `a` minus value of `b`, over the same `n` prompts."""

    a: str
    b: str
    metric: str
    """A metric's key; `failures/NAME` compares rates of a failure mode (`failures/any`: all of them)."""
    difference: float
    low: float
    high: float
    p_value: float = Field(ge=0, le=1)
    n: int = Field(ge=0)
    higher_is_better: bool | None = True


class RewardMode(Part):
    """How well references are told from one failure mode on held-out pairs."""

    n: int = Field(ge=0)
    accuracy: float | None = Field(None, ge=0, le=1)
    auroc: float | None = Field(None, ge=0, le=1)
    held_out: bool = False
    """True: this mode was not in the training data, which makes it the check of generalisation."""


class Timing(Part):
    """What one stage cost."""

    seconds: float = Field(ge=0)
    tokens: int | None = Field(None, ge=0)
    peak_memory_bytes: int | None = Field(None, ge=0)


class Selection(Part):
    """How the checkpoint of a stage was chosen, on validation prompts."""

    stage: str
    metric: str
    step: int = Field(ge=0)
    value: float


class File(Part):
    """A record that is a file of its own; `kind` is what messages call it."""

    kind: ClassVar[str]
    schema_version: Literal[1] = 1

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """The record at `path`. Raises InputError: absent, not JSON, of a newer schema, or with wrong fields."""
        return cls._parse(_read_object(Path(path), cls.kind), Path(path))

    def write(self, path: str | Path) -> None:
        """Write as JSON, whole or not at all; folders are made. Raises InputError where that is impossible."""
        write_text(Path(path), json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def _parse(cls, values: dict[str, Any], path: Path) -> Self:
        version = values.get("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise InputError(
                f"{path}: {cls.kind} has schema version {version} and this homestretch reads up to "
                f"{SCHEMA_VERSION}; install a newer homestretch."
            )
        if version != SCHEMA_VERSION:
            raise InputError(
                f"{path}: {cls.kind} has schema version {version!r} where {SCHEMA_VERSION} is expected; "
                "run the stage again or point to another run folder."
            )
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise InputError(
                f"{path}: `{place}` is not as {cls.kind} has it ({first['msg'].lower()}); "
                "run the stage that wrote it again."
            ) from None


class Results(File):
    """`evaluation/results.json`."""

    kind = "results.json"
    headline_metric: str = "la_rougeL"
    """The metric that the verdict is about."""
    dataset: str = ""
    """One line about the data, as the loader says it."""
    arms: dict[str, Arm] = {}
    stages: dict[str, str] = {}
    """The kind of stage that made an arm's model, by how the arm's name begins, such as `ml: sft` and `rl: ppo`."""
    comparisons: list[Comparison] = []
    reward_model: dict[str, RewardMode] = {}
    """By failure mode; `all` is every mode together."""
    baselines: dict[str, dict[str, RewardMode]] = {}
    """What trivial scorers reach on the same pairs, e.g. `length_only`; by failure mode, like `reward_model`."""
    selection: list[Selection] = []
    timings: dict[str, Timing] = {}
    """By stage, in the order they ran."""


class StageRecord(File):
    """`stages/NN-name/stage.json`."""

    kind = "stage.json"
    name: str
    status: Status = "pending"
    inputs: dict[str, str] = {}
    """Hash of everything the stage reads, by what it is: same hashes, same outputs, no need to run again."""
    seconds: float | None = Field(None, ge=0)
    tokens: int | None = Field(None, ge=0)
    samples: int | None = Field(None, ge=0)
    """Rows of optimiser batches, a pair being one row."""
    peak_memory_bytes: int | None = Field(None, ge=0)
    """The most memory while it ran: of the accelerator, or of this process, with what earlier stages left in it."""
    error: str | None = None
    """One sentence, where the stage failed."""


class Environment(File):
    """`environment.json`."""

    kind = "environment.json"
    versions: dict[str, str] = {}
    hardware: dict[str, str | int | float | None] = {}
    seeds: dict[str, int] = {}
    command: list[str] = []


class RunFolder:
    """Paths of a run folder. Nothing is created before something is written."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.recipe = self.path / "recipe.yaml"
        self.environment = self.path / "environment.json"
        self.stages = self.path / "stages"
        self.evaluation = self.path / "evaluation"
        self.generations = self.evaluation / "generations.jsonl"
        self.results = self.evaluation / "results.json"
        self.report = self.path / "report.html"
        self.model = self.path / "model"

    def stage(self, number: int, name: str) -> StageFolder:
        """Folder of stage `number` (from 1), e.g. `stages/01-sft`."""
        return StageFolder(self.stages / f"{number:02d}-{name}")

    def stage_folders(self) -> list[StageFolder]:
        """The stages that have a record, in order."""
        found = [StageFolder(p) for p in self.stages.glob("[0-9]*-*") if (p / "stage.json").is_file()]
        return sorted(found, key=lambda stage: (int(stage.path.name.split("-")[0]), stage.path.name))

    def is_run(self) -> bool:
        """True where the folder holds anything a run leaves behind."""
        return any(p.exists() for p in (self.recipe, self.environment, self.stages, self.results, self.generations))


class StageFolder:
    """Paths of one stage's folder."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        number, _, name = self.path.name.partition("-")
        self.name = name if number.isdecimal() and name else self.path.name
        """The stage's name in its recipe, e.g. `grpo-2`, which messages call settings by."""
        self.record = self.path / "stage.json"
        self.metrics = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model"


def _read_object(path: Path, kind: str) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: there is no {kind} here; give the folder of a run that got that far.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions.") from None
    except ValueError as error:
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(f"{path}{line}: this is not JSON; run the stage that wrote it again.") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: {kind} must hold an object; run the stage that wrote it again.")
    return values

"""`lab.json`: what the lab of teacher hacking leaves behind, beside an ordinary run for each model, case and seed.

lab/
  lab.json                   Hacking
  lab.html                   the same as a page
  lab.yaml                   what was asked for
  data/                      pairs, prompts, and samples of the oracle by seed
  untrained/, oracle/        models that start from nothing, and the run that trains the oracle
  models/NAME/SEED/          runs of teacher and student before distillation
  runs/CASE/SEED/            runs of `distill` (see `results.py`)
  curves/CASE-SEED.jsonl     a row for each evaluation (Evaluation)
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from homestretch.results import File, Measured, Part, RunFolder


class Evaluation(Part):
    """Distances in nats a text at a step; a divergence that is infinite is None."""

    step: int = Field(ge=0)
    golden: float | None = None
    proxy: float | None = None
    golden_jsd: float
    proxy_jsd: float
    training: float | None = None
    """Mean of the training loss since the evaluation before, nats a token."""
    length_ratio: float | None = None
    """Tokens of greedy outputs over those of the references."""


class Law(Part):
    """`floor + factor step^-exponent`, fitted to the first half of a run as far as it was known."""

    floor: float
    factor: float
    exponent: float
    departure: float | None = None
    """The step of the first point above it, where the run left it."""
    raised: float | None = None
    """The step at which that was known."""


class HackingRun(Part):
    """One case with one seed."""

    curve: list[Evaluation]
    best_step: int
    """Where the golden distance was smallest."""
    golden_min: float
    golden_last: float
    rise: float
    """Of the golden distance since its smallest, as a share of that."""
    proxy_at_best: float
    proxy_last: float
    hacked: bool
    """Whether at the end the golden distance had risen while the proxy was at its smallest."""
    laws: dict[str, Law] = {}
    """Of `golden`, `proxy` and `training`."""
    alarms: dict[str, int] = {}
    """The step at which the run doctor raised each alarm first."""


class HackingCase(Part):
    """One way of distilling, all seeds."""

    sweep: str
    prompts: int
    generations: int
    runs: dict[int, HackingRun]
    """By seed."""
    rise: Measured
    """Over seeds."""
    more_than_baseline: Measured | None = None
    """The rise above that of the baseline with the same seed; None for the baseline."""


class AlarmRecord(Part):
    """How good an alarm was over all runs (see `alarms.hindsight`); `lead` in steps."""

    runs: int
    hacked: int
    fired: int
    right: int
    precision: float | None
    recall: float | None
    lead: float | None


class Hacking(File):
    """`lab.json`."""

    kind = "lab.json"
    dataset: str = ""
    seeds: list[int] = []
    models: dict[str, str] = {}
    """Oracle, teacher and student in words."""
    golden_of_teacher: dict[int, float | None] = {}
    """The teacher's own distance to the oracle, by seed, nats a text."""
    cases: dict[str, HackingCase] = {}
    alarms: dict[str, AlarmRecord] = {}
    sentence: str = ""


class LabFolder:
    """Paths of a lab. Nothing is created before something is written."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.record = self.path / "lab.json"
        self.report = self.path / "lab.html"
        self.asked = self.path / "lab.yaml"
        self.data = self.path / "data"
        self.oracle = RunFolder(self.path / "oracle")

    def untrained(self, name: str, seed: int) -> Path:
        """A model that starts from nothing."""
        return self.path / "untrained" / name / str(seed)

    def model(self, name: str, seed: int) -> RunFolder:
        """The run that makes `teacher` or `student`."""
        return RunFolder(self.path / "models" / name / str(seed))

    def run(self, case: str, seed: int) -> RunFolder:
        """The run of one case and seed."""
        return RunFolder(self.path / "runs" / case / str(seed))

    def curve(self, case: str, seed: int) -> Path:
        """The curve of one case and seed."""
        return self.path / "curves" / f"{case}-{seed}.jsonl"

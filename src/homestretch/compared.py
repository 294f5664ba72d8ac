"""`comparison.json`: what a comparison of several recipes leaves behind, beside an ordinary run for each and each seed.

comparison/
  comparison.json        Compared
  comparison.html        the same as a page
  METHOD/SEED/           ordinary run folders (see `results.py`)
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import Field

from homestretch.results import Arm, Comparison, File, Measured, Part, Results, RunFolder, Status


class Cost(Part):
    """What training cost, a seed. Means over seeds, except that memory is the most of any."""

    seconds: float = Field(ge=0)
    tokens: float = Field(ge=0)
    samples: float = Field(ge=0)
    peak_memory_bytes: int | None = Field(None, ge=0)


class Point(Part):
    """A validation of the stage that a method is about, and what had been spent in that stage until then."""

    seconds: float = Field(ge=0)
    tokens: int = Field(ge=0)
    samples: int = Field(ge=0)
    value: float


class MethodRecord(Part):
    """One recipe of the comparison."""

    status: Status = "pending"
    error: str | None = None
    """One sentence, where the method failed."""
    baseline: bool = False
    """True: what the others go on from."""
    stages: list[str] = []
    stage: str
    """The stage that the method is about: the last that trains the policy."""
    limited: bool = False
    """Whether that stage has the budget."""
    by_seed: dict[int, float] = {}
    """The headline metric of each seed."""
    own: Cost | None = None
    """Cost of the method's stage alone."""
    total: Cost | None = None
    """Cost of all its training stages, shared ones included."""
    curve_metric: str | None = None
    """Validation metric of the curves."""
    curves: dict[int, list[Point]] = {}
    """Validations of the method's stage, by seed."""


class Place(Part):
    """A method's place by the headline metric, and how sure that is, in shares of bootstrap samples of the prompts."""

    method: str
    p_best: float = Field(ge=0, le=1)
    """It is the best of all; those that tie share the sample."""
    p_above_next: float | None = Field(None, ge=0, le=1)
    """It is better than the next one, ties counting half; None for the last."""


class Family(Part):
    """Methods that one recipe made at several weights."""

    methods: list[str]
    hypervolume: Measured
    """Of these methods alone, above the corner of all."""


class VolumeDifference(Part):
    """Hypervolume of family a minus that of b, over the same bootstrap samples of the prompts."""

    a: str
    b: str
    difference: float
    low: float
    high: float


class Front(Part):
    """Methods along a trade-off between several metrics, and what they cover together."""

    objectives: list[str]
    """Metrics, `rewards/NAME` or `failures/NAME`."""
    members: list[str]
    """Methods to which no other is equal in all objectives and better in one."""
    reference: dict[str, float]
    """The least favourable value of each objective among the methods: the corner that volumes are measured from."""
    hypervolume: Measured
    """Volume between that corner and the methods, in the units of the objectives multiplied."""
    families: dict[str, Family] = {}
    """The methods that one recipe made at several weights, where there are several recipes."""
    differences: list[VolumeDifference] = []
    """Each family's hypervolume minus each other one's."""
    soups: dict[str, Measured] = {}
    """What each mixture of models adds to the hypervolume of the methods that are none, 0 or more."""


class Compared(File):
    """`comparison.json`."""

    kind = "comparison.json"
    headline_metric: str = "la_rougeL"
    """The metric of ranks and advice."""
    dataset: str = ""
    seeds: list[int] = []
    budget: dict[str, int] = {}
    """What the limited stages may spend, by unit; empty: each recipe's own length."""
    methods: dict[str, MethodRecord] = {}
    arms: dict[str, Arm] = {}
    """By method; with `@t1` behind the name sampled. A prompt's outputs are averaged over seeds first."""
    comparisons: list[Comparison] = []
    ranking: list[Place] = []
    """The best method first; only methods that finished."""
    p_order: float | None = Field(None, ge=0, le=1)
    """The whole ranking is right."""
    front: Front | None = None
    """Where objectives were given."""
    advice: str = ""

    @property
    def results(self) -> Results:
        """The methods as arms of one evaluation."""
        return Results(
            headline_metric=self.headline_metric, dataset=self.dataset, arms=self.arms, comparisons=self.comparisons
        )


class ComparisonFolder:
    """Paths of a comparison. Nothing is created before something is written."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.record = self.path / "comparison.json"
        self.report = self.path / "comparison.html"

    def run(self, method: str, seed: int) -> RunFolder:
        """The run of one method and seed."""
        return RunFolder(self.path / method / str(seed))

    def recipes(self, methods: Iterable[str], seed: int) -> dict[str, Path]:
        """The recipe files of those of these methods that have one here: a method whose folder was deleted has left."""
        files = {name: self.run(name, seed).recipe for name in methods}
        return {name: file for name, file in files.items() if file.is_file()}

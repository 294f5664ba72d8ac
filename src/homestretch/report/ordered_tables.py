"""Rewards on the same pairs as sentences and rows of text, printed and shown on the page."""

from __future__ import annotations

from homestretch.ordered import LENGTH, Agreement, Explanation, FitRecord, Ordered
from homestretch.report.names import number, percent, signed
from homestretch.report.read import clean
from homestretch.report.verdict import outcome
from homestretch.results import Comparison, Measured

NOTHING = "–"

Rows = list[list[str]]


def what(record: Ordered) -> str:
    """Which pairs these are."""
    which = "those that a fit to the same data leaves out" if record.held_out else "all of them"
    return f"{clean(record.data)}: {record.pairs:,} pairs of a better and a worse text, {which}."


def sentence(record: Ordered) -> str:
    """How well the first reward orders the pairs, and whether length does as well."""
    name, found = next(iter(record.rewards.items()))
    n = f"{record.pairs:,} {'pair' if record.pairs == 1 else 'pairs'}"
    said = f"`{name}` orders {share(found.accuracy)} of {n} the right way"
    lead = next((c for c in record.comparisons if (c.a, c.b) == (name, LENGTH)), None)
    if lead is None:
        return f"{said}."
    length = percent(record.baselines[LENGTH].accuracy.value)
    points = f"{signed(100 * lead.difference, 1)} points, {_ends(lead)}"
    reading = {
        "better": f"it knows more than length, which gets {length} ({points})",
        "worse": f"the rule that longer is better gets {length} and beats it ({points})",
    }.get(outcome(lead), f"the rule that longer is better gets {length}, and the difference may be chance ({points})")
    return f"{said}; {reading}."


def _ends(comparison: Comparison) -> str:
    return f"95 % interval {signed(100 * comparison.low, 1)} to {signed(100 * comparison.high, 1)}"


def share(measured: Measured) -> str:
    """`74 % (67 to 80)`."""
    return f"{percent(measured.value)} ({number(100 * measured.low, 0)} to {number(100 * measured.high, 0)})"


def everything(record: Ordered) -> dict[str, Agreement]:
    """Rewards, then what is simpler."""
    return {**record.rewards, **record.baselines}


def label(record: Ordered, name: str) -> str:
    """The name of a reward or a baseline; where a single reward has features, they go without its name."""
    if name in record.rewards or len(record.explanations) != 1:
        return clean(name)
    [owner] = record.explanations
    return clean("features' mean" if name == f"{owner}, mean" else name.removeprefix(f"{owner}."))


def agreement_table(record: Ordered) -> Rows:
    """Rewards and baselines: accuracy with its interval, and negative log-likelihood."""
    rows = [["", "right order", "negative log-likelihood"]]
    for name, found in everything(record).items():
        rows.append(
            [label(record, name), share(found.accuracy), NOTHING if found.nll is None else number(found.nll, 3)]
        )
    return rows


def annotator_table(record: Ordered) -> Rows:
    """A row an annotator, a column a reward; empty where the rows name nobody."""
    first = next(iter(record.rewards.values()))
    header = ["annotator", "prompts", *(clean(name) for name in record.rewards)]
    rows = [
        [clean(who), str(of_first.n), *(share(found.annotators[who]) for found in record.rewards.values())]
        for who, of_first in first.annotators.items()
    ]
    return [header, *rows] if rows else []


def influence_table(found: Explanation) -> Rows:
    """A row a feature: what is lost without it, how the reward answers to it, and its closest other."""
    rows = [["feature", "accuracy lost when shuffled", "when left out", "slope", "closest other feature"]]
    for place, (name, part) in enumerate(found.influence.items()):
        cells = [number(value, 3) for value in (part.permutation, part.leave_one_out, part.slope)]
        rows.append([clean(name), *cells, closest(found, place)])
    return rows


def closest(found: Explanation, place: int) -> str:
    """The feature that says most nearly the same, with its correlation; a dash where there is no other."""
    names, r = list(found.influence), found.correlation[place]
    other = max((i for i in range(len(names)) if i != place), key=lambda i: abs(r[i]), default=None)
    return NOTHING if other is None else f"{clean(names[other])} (r {number(r[other], 2)})"


def correlation_table(found: Explanation) -> Rows:
    """Pearson's r between all features; empty for a single one."""
    names = [clean(name) for name in found.influence]
    cells = ([number(value, 2) for value in row] for row in found.correlation)
    return [["", *names], *([name, *row] for name, row in zip(names, cells, strict=True))] if len(names) > 1 else []


def made(fit: FitRecord | None) -> str:
    """What the reward was fitted to, in words."""
    if fit is None or "train" not in fit.pairs:
        return ""
    starts = f" Starts that ended constant before: {fit.dead_starts}." if fit.dead_starts else ""
    return f"Fitted to {fit.pairs['train']:,} pairs.{starts}"

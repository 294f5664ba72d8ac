"""The page of rewards on the same pairs: agreement, calibration, features and disagreements, in one file without
script."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from homestretch.ordered import ACCURACY, Disagreement, Explanation, FitRecord, Ordered
from homestretch.report import charts, sections
from homestretch.report.figures import Chart, Key
from homestretch.report.names import listed, number
from homestretch.report.ordered_tables import (
    Rows,
    agreement_table,
    annotator_table,
    correlation_table,
    everything,
    influence_table,
    label,
    made,
    sentence,
    what,
)
from homestretch.report.page import fill, numbered, with_code
from homestretch.report.read import clean
from homestretch.report.reward_charts import Effect, claim_chart, effect_chart
from homestretch.report.samples import clip
from homestretch.results import Measured, Results
from homestretch.writing import write_text

TEASER = 140


@dataclass(frozen=True)
class FeaturesView:
    """Everything shown about one reward of features."""

    name: str
    charts: list[Chart]
    influence: Rows
    dependence: list[Chart]
    correlation: Rows
    made: str
    remarks: list[str]
    curve: list[Chart]


@dataclass(frozen=True)
class PairView:
    """A disagreement as the page shows it."""

    where: str
    teaser: str
    facts: str
    prompt: str
    chosen: str
    rejected: str
    features: Rows


def write_page(record: Ordered, out: Path) -> None:
    """Write the page to `out`. Raises InputError where that is not possible."""
    write_text(out, render(record))


def render(record: Ordered) -> str:
    """The page as text. The same record gives the same text."""
    rows = sections.comparisons(Results(headline_metric=ACCURACY, comparisons=record.comparisons))
    return fill(
        "ordered.html",
        record=record,
        title=listed([clean(name) for name in record.rewards]),
        what=what(record),
        sentence=with_code(sentence(record)),
        overview=numbered([overview(record)], "o"),
        agreement=agreement_table(record),
        comparisons=rows,
        annotators=annotator_table(record),
        calibration=numbered(calibration(record), "k"),
        features=[features_view(record, name, place) for place, name in enumerate(record.explanations)],
        first=clean(next(iter(record.rewards))),
        disagreements=[pair_view(pair) for pair in record.disagreements],
    )


def overview(record: Ordered) -> Chart:
    """Accuracy of the rewards, in colour, and of what is simpler."""
    colours = {name: 1 + i % (charts.SERIES - 1) for i, name in enumerate(record.rewards)}
    dots = [
        charts.Dot(label(record, name), _percent(found.accuracy), colours.get(name, 0), hollow=name not in colours)
        for name, found in everything(record).items()
    ]
    title = "Pairs in the right order, %"
    return Chart(title, charts.interval_chart(dots, digits=0, label=f"{title}, with 95 % intervals"))


def _percent(measured: Measured) -> Measured:
    scaled = {end: 100 * getattr(measured, end) for end in ("value", "low", "high")}
    return measured.model_copy(update=scaled)


def calibration(record: Ordered) -> list[Chart]:
    """Claims against what came true, all rewards in one chart."""
    curves = [
        (clean(name), 1 + i % (charts.SERIES - 1), found.calibration)
        for i, (name, found) in enumerate(record.rewards.items())
        if found.calibration
    ]
    if not curves:
        return []
    title = "Pairs in the right order against what is claimed"
    return [Chart(title, claim_chart(curves, label=title), [Key(name, colour) for name, colour, _ in curves])]


def features_view(record: Ordered, name: str, place: int) -> FeaturesView:
    """Influence, answers, correlations and making of one reward."""
    found = record.explanations[name]
    prefix = f"f{place}"
    return FeaturesView(
        name=clean(name),
        charts=numbered([effects(found)], f"{prefix}-e"),
        influence=influence_table(found),
        dependence=numbered(dependence(found), f"{prefix}-d"),
        correlation=correlation_table(found),
        made=made(found.fit),
        remarks=[clean(text) for text in found.fit.remarks] if found.fit else [],
        curve=numbered(learning_curve(found.fit), f"{prefix}-l"),
    )


def effects(found: Explanation) -> Chart:
    """Points of accuracy that each feature is worth, the most important first."""
    order = sorted(found.influence.items(), key=lambda item: -item[1].permutation)
    rows = [Effect(clean(name), 100 * i.permutation, 100 * i.leave_one_out) for name, i in order]
    title = "Points lost without the feature"
    svg = effect_chart(rows, label=f"{title}: shuffled (full dots) and left out (hollow dots)")
    return Chart(title, svg)


def dependence(found: Explanation) -> list[Chart]:
    """The mean reward against each feature, as many in one chart as there are colours."""
    made_of = list(found.partial_dependence.items())
    drawn = []
    for at in range(0, len(made_of), charts.SERIES):
        xs = [100 * x for x in found.at]
        lines = [charts.Lines(clean(n), xs, ys, i) for i, (n, ys) in enumerate(made_of[at : at + charts.SERIES])]
        title = "Mean reward, a logit, with one feature set to"
        svg = charts.curve_chart(lines, label=title, x_label="% of the feature's range")
        drawn.append(Chart(title, svg, [Key(line.label, line.series) for line in lines]))
    return drawn


def learning_curve(fit: FitRecord | None) -> list[Chart]:
    """Accuracy and likelihood on held-out pairs against the number of pairs, means over orders."""
    if fit is None or not fit.curve:
        return []
    xs = [float(point.pairs) for point in fit.curve]
    drawn = []
    for title, values in (
        ("Held-out pairs in the right order, %", [100 * fmean(point.accuracy) for point in fit.curve]),
        ("Held-out negative log-likelihood", [fmean(point.nll) for point in fit.curve]),
    ):
        svg = charts.curve_chart([charts.Lines("", xs, values, 1, dots=True)], label=title, x_label="pairs fitted to")
        drawn.append(Chart(title, svg))
    return drawn


def pair_view(pair: Disagreement) -> PairView:
    """Texts cut to what a page can hold."""
    facts = [f"margin {number(pair.margin, 2)}", *([f"annotator {clean(pair.annotator)}"] if pair.annotator else [])]
    teaser = " ".join(clean(pair.prompt).split())
    features = [[clean(name), number(better, 2), number(worse, 2)] for name, (better, worse) in pair.features.items()]
    return PairView(
        where=clean(pair.where),
        teaser=teaser if len(teaser) <= TEASER else teaser[: TEASER - 1] + "…",
        facts=", ".join(facts),
        prompt=clip(clean(pair.prompt), whole="the data"),
        chosen=clip(clean(pair.chosen), whole="the data"),
        rejected=clip(clean(pair.rejected), whole="the data"),
        features=[["feature", "better", "worse"], *features] if features else [],
    )

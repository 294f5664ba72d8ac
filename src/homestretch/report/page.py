"""The page: everything about one or several runs in one HTML file that needs no network and no script."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from homestretch.errors import InputError
from homestretch.report import figures, samples, sections
from homestretch.report.charts import unique_ids
from homestretch.report.names import listed, metric_label
from homestretch.report.proxies import proxy_charts
from homestretch.report.read import RunView, clean, read_run
from homestretch.report.verdict import verdict
from homestretch.writing import write_text

MAX_SAMPLES = 300


def write_report(runs: list[Path], out: Path, *, max_samples: int = MAX_SAMPLES) -> Path:
    """Read the folders of `runs`, write one page to `out`, and return `out`.

    At most `max_samples` prompts are shown, fewer where their texts are long, spread evenly over the test set.
    Raises InputError: a folder that is no run, a record of it that cannot be used, or `out` not writable.
    """
    if not runs:
        raise InputError("report: no run was named; give the folder of at least one run.")
    write_text(Path(out), render(_distinct([read_run(path) for path in runs]), max_samples=max_samples))
    return Path(out)


def render(runs: list[RunView], *, max_samples: int = MAX_SAMPLES) -> str:
    """The page as text. The same runs give the same text."""
    script = _source("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return fill(
        "template.html",
        **_overview(runs),
        **_browser(runs, max_samples),
        details=[_details(run, place) for place, run in enumerate(runs)],
        script=Markup(script),
        script_hash=digest,
    )


def fill(template: str, **values: Any) -> str:
    """A template of this folder with its values, escaped, and the common style."""
    jinja = Environment(
        loader=PackageLoader("homestretch.report", "."),
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined,
    )  # fmt: skip
    jinja.filters["with_code"] = with_code
    html = jinja.get_template(template).render(style=Markup(_source("style.css")), **values)
    return html.encode("utf-8", "replace").decode()


def _overview(runs: list[RunView]) -> dict[str, Any]:
    named = sections.named_arms(runs)
    metric = next((run.results.headline_metric for run in runs if run.results), "la_rougeL")
    dataset = dict.fromkeys(run.results.dataset for run in runs if run.results and run.results.dataset)
    charts = [
        figures.headline(named, metric),
        *(figures.failures(named, sampled=sampled) for sampled in (False, True)),
        *(figures.lengths(runs, sampled=sampled) for sampled in (False, True)),
    ]
    overview, before_after, length = numbered(charts[:1], "a"), numbered(charts[1:3], "f"), numbered(charts[3:], "l")
    return {
        "title": listed([run.name for run in runs]),
        "dataset": list(dataset),
        "several": len(runs) > 1,
        "metric": metric_label(metric),
        "verdicts": [(run.name, verdict(run.results), sections.tiles(run.results), run.notes) for run in runs],
        "arms": sections.arms_tables(named, metric),
        "arm_charts": overview,
        "failure_charts": before_after,
        "length_charts": length,
    }


def _browser(runs: list[RunView], limit: int) -> dict[str, Any]:
    everything = samples.merge(runs)
    chosen = samples.choose(everything, limit)
    arms = dict.fromkeys(arm for sample in chosen for arm in sample.outputs)
    return {"samples": samples.view(chosen), "total": len(everything), "sample_arms": list(arms)}


def _details(run: RunView, place: int) -> dict[str, Any]:
    selection = run.results.selection if run.results else []
    stages = [(figures.curves(stage, selection), proxy_charts(stage)) for stage in run.stages]
    rows = sections.comparisons(run.results) if run.results else []
    return {
        "name": run.name,
        "path": run.path,
        "comparisons": [row for row in rows if row.first],
        "more_comparisons": [row for row in rows if not row.first],
        "reward": sections.reward_table(run.results) if run.results else None,
        "stages": [
            (stage, numbered([*stage.charts, *proxies], f"c{place}-{i}-"))
            for i, (stage, proxies) in enumerate(stages)
            if stage.charts or proxies or stage.remarks
        ],
        "selection": [(s.stage, metric_label(s.metric), s.step, f"{s.value:.4g}") for s in selection],
        "timings": sections.timings(run),
        "recipe": run.recipe,
        "environment": sections.environment(run.environment),
        "command": " ".join(run.environment.command) if run.environment else "",
    }


def numbered(charts: list[figures.Chart | None] | list[figures.Chart], prefix: str) -> list[figures.Chart]:
    """The charts that there are, with ids of their own on the page."""
    there = [chart for chart in charts if chart]
    return [figures.Chart(c.title, unique_ids(c.svg, f"{prefix}{i}-"), c.legend) for i, c in enumerate(there)]


def _distinct(runs: list[RunView]) -> list[RunView]:
    """Runs of the same folder name are told apart by their number."""
    names = [run.name for run in runs]
    return [
        RunView(**{**vars(run), "name": f"{run.name} ({i})"}) if names.count(run.name) > 1 else run
        for i, run in enumerate(runs, 1)
    ]


def with_code(text: str) -> Markup:
    """A sentence for the page: what stands between backticks is code."""
    parts = clean(text).split("`")
    if len(parts) % 2 == 0:
        return _unbroken(clean(text))
    return Markup("").join(Markup("<code>{}</code>").format(p) if i % 2 else _unbroken(p) for i, p in enumerate(parts))


def _unbroken(text: str) -> Markup:
    """The text with short hyphenated words, such as names of metrics, and numbers with their signs on one line."""
    text = re.sub(r"(?<=\d) (?=%)|(?<=p) (?=[<=])|(?<=[<=]) (?=\d)", "\N{NO-BREAK SPACE}", text)
    parts = re.split(r"(\b[\w-]{1,16}-\w{1,10}\b)", text)
    return Markup("").join(Markup('<span class="nb">{}</span>').format(p) if i % 2 else p for i, p in enumerate(parts))


def _source(name: str) -> str:
    return (Path(__file__).parent / name).read_text("utf-8")

"""Generations in, results out: metrics with intervals for each arm, paired tests between arms.

    generations.jsonl   {"id", "arm", "prompt", "references", "source", "text", "terminated", "tokens", "reward",
                         "rewards", "lower_is_better", "kl"}
    results.json        `Results`: arms -> metrics, failure modes, length; comparisons a - b for each metric

Intervals are percentiles of a bootstrap over prompts, p-values come from random sign flips of paired differences
(for BLEU and distinct-2: from random swaps of the two arms' outputs), both 10,000 times; see `metrics.stats`.
Rows with the same `prompt` and `source` answer one prompt, whatever their ids: they are averaged before anything is
resampled, and n counts prompts. Arms are paired by `id` and prompt, and where rows have no `id` by prompt and order
(`pairing`). No torch is imported here: learned metrics arrive as functions (`metrics.scorers.available_scorers`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from homestretch.config.base import nearest
from homestretch.data.files import parse_json
from homestretch.data.records import check_text
from homestretch.errors import DataError, InputError, RecipeError
from homestretch.metrics import FAILURES, METRICS, REWARDS
from homestretch.metrics.base import Column, Floats, Outputs
from homestretch.metrics.compare import Table, compare, direction, front, measure, rank
from homestretch.metrics.failures import RULES, judge_row
from homestretch.metrics.front import Covered
from homestretch.metrics.ranking import Ranking
from homestretch.metrics.rouge import Form
from homestretch.metrics.scorers import Scorer
from homestretch.metrics.stats import wilson
from homestretch.metrics.text import TEXT_METRICS, text_columns
from homestretch.pairing import Row, answers_of, prompt_of
from homestretch.results import Arm, Comparison, Length, Results

STORED = ("reward", "kl")
"""Metrics that stand in the rows already."""
LOWER = "lower_is_better"
"""The column that names the rewards of which less is better."""
Progress = Callable[[str, int, int], None]
"""Told the name of what is done next, how many parts are done, and how many there are."""

PAIRS = (
    ("rl_raw", "ml_raw"),
    ("rl_post", "ml_post"),
    ("rl_raw", "ml_post"),
    ("rl_post", "rl_raw"),
    ("ml_post", "ml_raw"),
)
DEFAULT_COMPARISONS = tuple((a + suffix, b + suffix) for suffix in ("", "@t1") for a, b in PAIRS)


def evaluate_rows(
    rows: Iterable[Row],
    *,
    metrics: Sequence[str] | None = None,
    la_rouge: Form = "a",
    seed: int = 0,
    learned: Mapping[str, Scorer] | None = None,
    comparisons: Sequence[tuple[str, str]] = DEFAULT_COMPARISONS,
    headline_metric: str = "la_rougeL",
    progress: Progress | None = None,
) -> Results:
    """Measure every arm found in `rows` and compare the pairs of arms that are both there.

    `metrics`: keys of `METRICS`; None takes all that can be computed (`reward` where every row of the arm has one,
    learned ones as far as `learned` has them). Raises InputError without rows, RecipeError for an unknown key or a
    learned metric that is asked for and not given.
    """
    arms = _by_arm(rows)
    names = _names(metrics, learned or {})
    pairs = [(a, b) for a, b in comparisons if a in arms and b in arms]
    tell = progress or (lambda *_: None)
    total = len(arms) + len(pairs)
    tables: dict[str, Table] = {}
    measured: dict[str, Arm] = {}
    for done, (arm, its_rows) in enumerate(arms.items()):
        tell(arm, done, total)
        tables[arm] = _table(its_rows, names, la_rouge, seed, learned or {})
        measured[arm] = _arm(its_rows, tables[arm], seed)
    compared: list[Comparison] = []
    for done, (a, b) in enumerate(pairs, start=len(arms)):
        tell(f"{a} - {b}", done, total)
        compared += [
            Comparison(
                a=a, b=b, metric=key, **values._asdict(), higher_is_better=direction((tables[a], tables[b]), key)
            )
            for key, values in compare(tables[a], tables[b], seed=seed).items()
        ]
    tell("done", total, total)
    return Results(headline_metric=headline_metric, arms=measured, comparisons=compared)


def rank_rows(
    rows: Iterable[Row],
    metric: str,
    *,
    la_rouge: Form = "a",
    seed: int = 0,
    learned: Mapping[str, Scorer] | None = None,
) -> tuple[list[str], Ranking]:
    """The arms in order of one metric, `rewards/NAME` or `failures/NAME`, the best first, and how sure that order is.

    Raises InputError without rows and RecipeError for a metric that cannot be computed or that has no better direction.
    """
    names = [] if metric.startswith((FAILURES, REWARDS)) else _names([metric], learned or {})
    tables = {arm: _table(r, names, la_rouge, seed, learned or {}) for arm, r in _by_arm(rows).items()}
    try:
        return rank(tables, metric, seed=seed)
    except (KeyError, ValueError) as error:
        raise RecipeError(f"evaluate: there is no ranking by `{metric}` ({error}); choose another metric.") from None


def front_rows(
    rows: Iterable[Row],
    objectives: Sequence[str],
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    la_rouge: Form = "a",
    seed: int = 0,
    learned: Mapping[str, Scorer] | None = None,
) -> tuple[list[str], Covered]:
    """The arms, which of them no other beats in all objectives, and what groups of them cover.

    Objectives are keys of metrics, `rewards/NAME` or `failures/NAME`.

    Raises InputError without rows and RecipeError for an objective that cannot be computed.
    """
    names = _names([key for key in objectives if not key.startswith((FAILURES, REWARDS))], learned or {})
    tables = {arm: _table(r, names, la_rouge, seed, learned or {}) for arm, r in _by_arm(rows).items()}
    try:
        return list(tables), front(tables, objectives, groups=groups, seed=seed)
    except (KeyError, ValueError) as error:
        raise RecipeError(f"There is no front of {', '.join(objectives)} ({error}); choose other objectives.") from None


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """Rows of a `generations.jsonl`. Raises DataError (`file:line`) for a row that cannot be measured, InputError
    where there are none."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # splitlines would split at U+2028, inside a text
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); run `homestretch generate` first.") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: this is not UTF-8 text; run `homestretch generate` again.") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            rows.append(_row(line, f"{path}:{number}"))
    if not rows:
        raise InputError(f"{path}: there are no rows; run `homestretch generate` first.")
    return rows


def _row(line: str, where: str) -> dict[str, Any]:
    try:
        row = parse_json(line)
    except ValueError:
        raise DataError(f"{where}: this is not JSON; write one object a line.") from None
    if not isinstance(row, dict) or not isinstance(row.get("text"), str) or not isinstance(row.get("arm"), str):
        raise DataError(f"{where}: a generation needs the strings `arm` and `text`; generate it again.")
    row = {name: value for name, value in row.items() if value is not None}
    wrong = next((name for name, fits in FITS.items() if name in row and not fits(row[name])), None)
    if wrong is not None:
        raise DataError(f"{where}: `{wrong}` is not of the kind that a generation has there; generate it again.")
    check_text(row, where)
    return {
        "id": None if "prompt" in row else where,
        "references": [],
        "source": "",
        "terminated": None,
        "tokens": None,
        "reward": None,
        "rewards": None,
        "kl": None,
        **row,
    }


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


FITS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(
        ("references", "lower_is_better"),
        lambda value: isinstance(value, list) and all(isinstance(r, str) for r in value),
    ),
    "source": lambda value: isinstance(value, str),
    "terminated": lambda value: isinstance(value, bool),
    "rewards": lambda value: (
        isinstance(value, dict) and all(number is None or _is_number(number) for number in value.values())
    ),
    **dict.fromkeys(("tokens", "reference_tokens", "reward", "kl"), _is_number),
}
"""Columns of a generation that are measured, and what they may hold."""


def _by_arm(rows: Iterable[Row]) -> dict[str, list[Row]]:
    arms: dict[str, list[Row]] = {}
    for row in rows:
        arms.setdefault(row["arm"], []).append(row)
    if not arms:
        raise InputError("there is nothing to evaluate; generate outputs first.")
    return arms


def _names(metrics: Sequence[str] | None, learned: Mapping[str, Scorer]) -> list[str]:
    if metrics is None:
        return [key for key in METRICS if key in TEXT_METRICS or key in learned or key in STORED]
    for key in metrics:
        if key not in METRICS:
            raise RecipeError(f"evaluate: unknown metric `{key}`; {nearest(key, list(METRICS))}")
        if key not in TEXT_METRICS and key not in learned and key not in STORED:
            needed = " and ".join(need for need in METRICS[key].needs if need != "references")
            raise RecipeError(f"evaluate: `{key}` needs a local {needed}; name one in the recipe or leave it out.")
    return list(metrics)


def _table(rows: Sequence[Row], names: Sequence[str], form: Form, seed: int, learned: Mapping[str, Scorer]) -> Table:
    """Everything measured of one arm, a row an id; failures come as `failures/NAME`."""
    texts, references, sources = ([r[name] for r in rows] for name in ("text", "references", "source"))
    outputs = Outputs(texts, references, sources, [prompt_of(r) for r in rows])
    columns = text_columns(outputs, [n for n in names if n in TEXT_METRICS], form=form, seed=seed)
    for name in names:
        if name in learned:
            columns[name] = _learned(outputs, learned[name])
    for name in STORED:
        if name in names and all(r.get(name) is not None for r in rows):
            columns[name] = Column.of_scores([r[name] for r in rows])
    for name in _rewards(rows):
        given = [r["rewards"][name] for r in rows]
        columns[REWARDS + name] = Column.of_scores([np.nan if value is None else value for value in given])
    answers = [judge_row(r) for r in rows]
    for name in (*RULES, "any"):
        columns[FAILURES + name] = Column.of_scores([float(a.get(name, np.nan)) for a in answers])
    ordered = {key: columns[key] for key in (*METRICS, *columns) if key in columns}
    lower = {name for r in rows for name in r.get(LOWER) or ()}
    return Table.of(answers_of(rows), ordered, outputs.prompts, lower)


def _rewards(rows: Sequence[Row]) -> list[str]:
    """Names of the single rewards that every row has."""
    each = [r.get("rewards") or {} for r in rows]
    return [name for name in each[0] if all(name in rewards for rewards in each)]


def _learned(outputs: Outputs, scorer: Scorer) -> Column:
    scores: Floats = np.full(len(outputs.texts), np.nan)
    judged = [i for i, refs in enumerate(outputs.references) if refs]
    if judged:
        scores[judged] = scorer([outputs.texts[i] for i in judged], [outputs.references[i] for i in judged])
    return Column.of_scores(scores)


def _arm(rows: Sequence[Row], table: Table, seed: int) -> Arm:
    measured = measure(table, seed=seed)
    metrics = {key: m for key, m in measured.items() if not key.startswith(FAILURES)}
    # Several rows of one prompt are one output that fails in part: they are not independent.
    rates = {
        key.removeprefix(FAILURES): m.model_copy(update=wilson(m.value * m.n, m.n)._asdict())
        for key, m in measured.items()
        if key.startswith(FAILURES)
    }
    return Arm(metrics=metrics, failure_modes=rates, length=_length(rows))


def _length(rows: Sequence[Row]) -> Length | None:
    tokens = [r["tokens"] for r in rows if r.get("tokens") is not None]
    if not tokens:
        return None
    p10, median, p90 = np.quantile(tokens, [0.1, 0.5, 0.9])
    wanted = [r["reference_tokens"] for r in rows if r.get("reference_tokens") is not None]
    return Length(
        mean=float(np.mean(tokens)),
        p10=float(p10),
        median=float(median),
        p90=float(p90),
        reference_mean=float(np.mean(wanted)) if wanted else None,
    )

"""Measure outputs that exist: files of generations, or a whole run again with other metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from homestretch.config.measured import FAILURES, check_metrics
from homestretch.errors import InputError, RecipeError
from homestretch.evaluate import DEFAULT_COMPARISONS, STORED, evaluate_rows, read_rows
from homestretch.metrics.base import MINILM_PACKAGE
from homestretch.metrics.scorers import OF_ENCODER, available_scorers
from homestretch.progress import progress, say
from homestretch.results import Results, RunFolder
from homestretch.verbs.renewed import own_evaluation


def measure(
    paths: Sequence[str | Path],
    *,
    metrics: Sequence[str] | None = None,
    la_rouge: Literal["a", "b", "c", "d"] | None = None,
    bleurt_checkpoint: str | Path | None = None,
    headline_metric: str | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
) -> Results:
    """Every arm of the given generation files or run folders, with intervals and paired tests.

    An arm that several of them have is measured for each, as `SOURCE/ARM`, and these are compared with each other.
    One run folder gets its `results.json` renewed: what is None is what its own evaluation has, what is measured
    replaces older values of the same arm and metric, and all else is kept; otherwise `out` is written where it is
    given, and None are all metrics, form a, the seed 0, and for the verdict la-ROUGE-L, or the first of `metrics`
    where it is not among them. Where arms have no row in common, a line on stderr says so. Raises InputError,
    DataError for a bad row, RecipeError for an unknown metric or one that cannot be had here.
    """
    rows, names = _told_apart(_named([Path(path) for path in paths]))
    run = RunFolder(paths[0]) if len(paths) == 1 and Path(paths[0]).is_dir() else None
    own = own_evaluation(run)
    metrics = own.metrics(bleurt_checkpoint) if metrics is None else metrics
    headline = headline_metric or own.headline(metrics)
    scorers = available_scorers(metrics, bleurt_checkpoint=bleurt_checkpoint or own.settings.bleurt_checkpoint)
    _check(rows, metrics, FAILURES + "any" if own.has(headline) else headline, scorers)
    pairs = _pairs(names)
    with progress(None, "evaluate", "part") as bar:
        results = evaluate_rows(
            rows,
            metrics=metrics,
            la_rouge=la_rouge or own.settings.la_rouge,
            seed=own.settings.seed if seed is None else seed,
            learned=scorers,
            comparisons=pairs,
            headline_metric=headline,
            progress=lambda what, done, _: bar.advance(done - bar.done, now=what),
        )
    _say_apart(pairs, results)
    results = own.renewed(results)
    target = Path(out) if out else run.results if run else None
    if target is not None:
        results.write(target)
    return results


def _check(
    rows: Sequence[Mapping[str, Any]], metrics: Sequence[str] | None, headline: str, there: Collection[str]
) -> None:
    """Raise RecipeError for names of metrics that do not exist, or that these outputs cannot be measured by."""
    rewards = dict.fromkeys(name for row in rows for name in row["rewards"] or ())
    needs = {key: "outputs that have it" for key in STORED if all(row[key] is None for row in rows)}
    needs |= dict.fromkeys(OF_ENCODER, f"the package `{MINILM_PACKAGE}`") | {"bleurt": "a checkpoint"}
    missing = {key: need for key, need in needs.items() if key not in there}
    try:
        check_metrics(metrics, headline, rewards=rewards, missing=missing)
    except ValueError as error:
        raise RecipeError(f"evaluate: {error}.") from None


def _named(paths: Sequence[Path]) -> dict[str, Path]:
    """Files of generations by the name of their run or file, or by the whole path where two are called alike."""
    names = [path.resolve().name if path.is_dir() else path.stem for path in paths]
    files = [_generations(path) for path in paths]
    twice = next((path for i, path in enumerate(files) if path.resolve() in [p.resolve() for p in files[:i]]), None)
    if twice is not None:
        raise InputError(f"{twice} is given twice; name each run or file once.")
    told_apart = [name if names.count(name) == 1 else str(path) for name, path in zip(names, paths, strict=True)]
    return dict(zip(told_apart, files, strict=True))


def _told_apart(sources: Mapping[str, Path]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """All rows, and what each arm was called where it came from: two sources' arms of one name are not one arm."""
    each = {name: read_rows(path) for name, path in sources.items()}
    count = Counter(arm for rows in each.values() for arm in {row["arm"] for row in rows})
    found, own = list[dict[str, Any]](), dict[str, str]()
    for name, rows in each.items():
        for row in rows:
            arm = row["arm"] if count[row["arm"]] == 1 else f"{name}/{row['arm']}"
            own[arm] = row["arm"]
            found.append(row | {"arm": arm})
    return found, own


def _generations(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = RunFolder(path).generations
    if not found.is_file():
        raise InputError(
            f"{path}: there is no evaluation/generations.jsonl in this folder; give a run that got so far."
        )
    return found


def _pairs(own: Mapping[str, str]) -> Sequence[tuple[str, str]]:
    """The usual comparisons where there are two of the usual arms, and those of one arm of several sources; without
    such, every later arm against every earlier one."""
    usual = [pair for pair in DEFAULT_COMPARISONS if set(pair) <= set(own)]
    every = [(b, a) for a, b in combinations(own, 2)]
    return usual + [(b, a) for b, a in every if own[a] == own[b]] or every


def _say_apart(pairs: Sequence[tuple[str, str]], results: Results) -> None:
    """A sentence where arms that would be compared have no answer in common."""
    compared = {(c.a, c.b) for c in results.comparisons}
    apart = [f"`{a}` and `{b}`" for a, b in pairs if (a, b) not in compared]
    if apart:
        more = f", and {len(apart) - 1} more such pairs of arms" if apart[1:] else ""
        say(
            f"{apart[0]}{more} are not compared, as they have no row of the same `id`, `prompt` and `source`; give "
            "outputs for the same prompts, with the same ids or with none."
        )

"""`homestretch audit PREDICTIONS`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from homestretch.results import Measured
    from homestretch.verbs.audit import Rates


def audit(
    predictions: Annotated[
        Path,
        typer.Argument(
            metavar="PREDICTIONS",
            help="JSONL, JSON, CSV or Parquet with prompt and prediction (or predictions); references are welcome.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Rates of failure modes in outputs that exist already. Trains nothing, loads no model."""
    from homestretch.verbs import audit as verb

    found = verb.audit(predictions)
    print(verb.as_json(found) if as_json else _table(found))


def _table(rates: Rates) -> str:
    """Failure modes in rows, arms in columns."""
    from homestretch.cli.summary import columns
    from homestretch.metrics.failures import RULES
    from homestretch.report.names import mode_label

    sizes = {arm: max(m.n for m in found.values()) for arm, found in rates.items()}
    rows = [["failure mode", *(f"{arm} ({n} {'prompt' if n == 1 else 'prompts'})" for arm, n in sizes.items())]]
    asked = [mode for mode in (*RULES, "any") if any(mode in found for found in rates.values())]
    rows += [[mode_label(mode), *(_cell(found.get(mode)) for found in rates.values())] for mode in asked]
    silent = [mode_label(mode) for mode in RULES if mode not in asked]
    note = f"\nNot asked, for want of references or of a column `terminated`: {', '.join(silent)}." if silent else ""
    return columns(rows) + note


def _cell(m: Measured | None) -> str:
    from homestretch.report.names import percent

    return f"{percent(m.value)} ({percent(m.low)} to {percent(m.high)})" if m else "–"

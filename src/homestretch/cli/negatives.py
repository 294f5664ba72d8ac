"""`homestretch negatives make|audit DATA`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from homestretch.cli.options import Data, OnBadRow, Seed

app = typer.Typer(help="Failure modes of your pairs, as preference rows.", no_args_is_help=True, rich_markup_mode=None)
Classes = Annotated[list[str] | None, typer.Option("--class", help="Failure mode to make; may be repeated.")]


@app.command("make")
def make(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="JSONL file to write.")],
    classes: Classes = None,
    all_classes: Annotated[bool, typer.Option("--all", help="Every class for every pair, not one.")] = False,
    max_examples: Annotated[int | None, typer.Option(min=1, help="Pairs at most.")] = None,
    seed: Seed = 0,
    on_bad_row: OnBadRow = "error",
) -> None:
    """Write failure modes of your pairs as preference rows. Columns: prompt, chosen, rejected, failure_mode."""
    from homestretch.verbs.negatives import make_negatives

    rows = make_negatives(
        data,
        out,
        classes=classes,
        classes_per_example="all" if all_classes else 1,
        max_examples=max_examples,
        seed=seed,
        on_bad_row=on_bad_row,
    )
    print(f"{out}: {len(rows)} rows")


@app.command("audit")
def audit(data: Data, seed: Seed = 0) -> None:
    """What trivial readers would tell of preference rows. Of pairs, negatives are made first."""
    from homestretch.cli.summary import columns
    from homestretch.verbs.negatives import audit_negatives

    found = audit_negatives(data, seed=seed)
    rows = found.rows()
    print(columns([list(rows[0]), *(list(row.values()) for row in rows)]))
    print(found.verdict())

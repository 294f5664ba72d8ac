"""`homestretch report RUN...`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders; several are shown side by side.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="HTML file; report.html in the first run unless given.")
    ] = None,
    max_samples: Annotated[
        int, typer.Option("--max-samples", min=1, help="Test prompts whose samples are shown.")
    ] = 300,
) -> None:
    """Write one self-contained HTML page about runs."""
    from homestretch.report.page import write_report
    from homestretch.results import RunFolder

    print(write_report(runs, out or RunFolder(runs[0]).report, max_samples=max_samples))

"""Stage `report`: one page about the run."""

from __future__ import annotations

from pathlib import Path

from homestretch import ranks
from homestretch.config.evaluate import ReportConfig
from homestretch.training.context import Context


def run(context: Context, config: ReportConfig, folder: Path) -> None:
    """Write `report.html`."""
    from homestretch.report.page import write_report  # plotting takes a second to import

    if ranks.is_first():
        write_report([context.run.path], context.run.report, max_samples=config.max_samples)

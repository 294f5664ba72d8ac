"""`homestretch quickstart`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from homestretch.cli.options import Settings


def quickstart(
    settings: Settings = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="About a sixth of the time: shows every stage, proves nothing.")
    ] = False,
    out: Annotated[Path, typer.Option("--out", help="Run folder.")] = Path("runs/quickstart"),
) -> None:
    """The whole pipeline on data and a model that need no hub."""
    from homestretch.cli.summary import print_run
    from homestretch.verbs import run as verb

    print_run(verb.quickstart(fast=fast, out=out, overrides=settings or ()))

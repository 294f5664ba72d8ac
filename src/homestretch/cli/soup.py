"""`homestretch soup FRONT --weight W`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def soup(
    front: Annotated[Path, typer.Argument(metavar="FRONT", help="Folder that `homestretch front` has written.")],
    weight: Annotated[float, typer.Option("--weight", help="Where between the outermost models, as a weight.")],
    of: Annotated[
        str | None, typer.Option("--of", metavar="NAME", help="Whose models, where the front is of several recipes.")
    ] = None,
) -> None:
    """Interpolate the outermost models of a front without training, and see where that lands.

    The new model joins the front's folder, report and numbers.
    """
    from homestretch.cli.summary import print_comparison
    from homestretch.compared import ComparisonFolder
    from homestretch.verbs import soup as verb

    print_comparison(verb.soup(front, weight=weight, of=of), ComparisonFolder(front))

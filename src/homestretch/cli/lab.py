"""`homestretch lab teacher-hacking`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from homestretch.cli.compare import numbers
from homestretch.cli.options import Data

app = typer.Typer(
    help="Experiments about the methods themselves, on your data.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def _several() -> None:
    """One command would otherwise stand for the group."""


@app.command("teacher-hacking")
def teacher_hacking(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="Folder of the models, the curves and the page.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="Sizes and stages, e.g. lab.epochs=20 oracle.max_steps=200 sft.max_steps=100 "
            "distill.learning_rate=5e-4",
        ),
    ] = None,
    oracle: Annotated[
        str | None,
        typer.Option("--oracle", help="Model that stands for the truth; alone, the others start from nothing."),
    ] = None,
    teacher: Annotated[str | None, typer.Option("--teacher", help="Model that learns from the oracle.")] = None,
    student: Annotated[str | None, typer.Option("--student", help="Model that learns from the teacher.")] = None,
    tokenizer: Annotated[str | None, typer.Option("--tokenizer", help="Model whose tokens small ones have.")] = None,
    sweep: Annotated[
        str, typer.Option("--sweep", metavar="S,S,...", help="Of sources, prompts, generations, loss.")
    ] = "sources",
    seeds: Annotated[str, typer.Option("--seeds", metavar="N,N,...", help="Seeds of each case.")] = "0,1,2",
) -> None:
    """Watch students come nearer to a teacher and farther from what it was made of.

    An oracle writes texts, teacher and student learn from them, and the student learns from the teacher in several
    ways. Models that are not given are small ones that start from nothing. The same command goes on where it was
    stopped.
    """
    from homestretch.cli.summary import columns
    from homestretch.lab import LabFolder
    from homestretch.report.lab_page import case_table
    from homestretch.verbs import lab as verb

    record = verb.teacher_hacking(
        data,
        out=out,
        oracle=oracle,
        teacher=teacher,
        student=student,
        tokenizer=tokenizer,
        sweeps=sweep.replace(",", " ").split(),
        seeds=numbers(seeds),
        overrides=settings or [],
    )
    print(record.sentence)
    print()
    print(columns(case_table(record)))
    print()
    for path, label in ((LabFolder(out).report, "report"), (LabFolder(out).record, "numbers")):
        print(f"{label}: {path}")

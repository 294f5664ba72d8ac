"""What a finished run prints: the verdict, the table of arms, and where the rest is."""

from __future__ import annotations

from homestretch.compared import Compared, ComparisonFolder
from homestretch.results import Results, RunFolder


def print_run(run: RunFolder) -> None:
    """The end of a run on stdout."""
    if run.results.is_file():
        print_results(Results.read(run.results))
    for path, label in ((run.report, "report"), (run.model, "model")):
        if path.exists():
            print(f"{label}: {path}")


def print_results(results: Results) -> None:
    """The verdict and the arms."""
    from homestretch.report.table import arms_table
    from homestretch.report.verdict import verdict

    print(verdict(results).sentence)
    print()
    print(columns(arms_table(results)))
    print()


def print_comparison(record: Compared, folder: ComparisonFolder) -> None:
    """The advice, the methods, what failed, and where the rest is."""
    from homestretch.report.front import front_table, sentence
    from homestretch.report.methods_table import summary_table

    print(sentence(record) or record.advice)
    print()
    print(columns(front_table(record) or summary_table(record)))
    print()
    for name, method in record.methods.items():
        if method.error:
            print(f"{name} failed: {method.error}")
    for path, label in ((folder.report, "report"), (folder.record, "numbers")):
        print(f"{label}: {path}")


def columns(rows: list[list[str]]) -> str:
    """Rows as text in columns: the first one to the left, the others to the right; the first row is the header."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    rule = ["-" * width for width in widths]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in (rows[0], rule, *rows[1:])
    ]
    return "\n".join(line.rstrip() for line in lines)

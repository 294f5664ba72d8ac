"""Write the pages that repeat what the code says: help of every command, equations of every metric.

    python docs/generate.py          writes docs/commands/*.md and docs/metrics/outputs.md

A test compares these files with `pages()`, so that a stale one is refused.
"""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
NOTE = "<!-- Written by docs/generate.py; change the code instead. -->"


def pages() -> dict[str, str]:
    """Text of every generated page, by its path below docs."""
    return {**command_pages(), "metrics/outputs.md": metrics_page()}


def command_pages() -> dict[str, str]:
    """A page for each command, its subcommands included."""
    import typer

    from homestretch.cli.main import app

    os.environ.update(COLUMNS="88", TERM="dumb", NO_COLOR="1")
    root: Any = typer.main.get_command(app)
    context = root.make_context("homestretch", [], resilient_parsing=True)
    return {f"commands/{name}.md": _command_page(name, c, context) for name, c in root.commands.items()}


def _command_page(name: str, command: Any, above: Any) -> str:
    context = command.make_context(name, [], parent=above, resilient_parsing=True)
    blocks = [f"{NOTE}\n\n# {context.command_path}\n\n{_block(context)}"]
    for part, subcommand in getattr(command, "commands", {}).items():
        inner = subcommand.make_context(part, [], parent=context, resilient_parsing=True)
        blocks.append(f"## {inner.command_path}\n\n{_block(inner)}")
    return "\n".join(blocks)


def _block(context: Any) -> str:
    return f"```text\n{context.get_help().strip()}\n```\n"


def metrics_page() -> str:
    """Keys of `results.json` with their equations, and the rules of failure modes."""
    from homestretch.metrics import METRICS
    from homestretch.metrics.failures import RULES

    better = {True: "more", False: "less", None: "neither"}
    metrics = [
        f"| `{key}` | {_cell(m.equation)} | {better[m.higher_is_better]} | {', '.join(m.needs) or 'nothing'} |"
        for key, m in METRICS.items()
    ]
    rules = [f"| `{name}` | {_cell(inspect.getdoc(rule) or '')} |" for name, rule in RULES.items()]
    return "\n".join(
        [
            NOTE,
            "",
            "# Measured on outputs",
            "",
            "What `results.json` has for each arm. Intervals are 95 % bootstrap intervals over prompts; comparisons",
            "are paired, with p-values of random sign flips; both take 10,000 draws.",
            "",
            "| key | equation | better | needs |",
            "| --- | --- | --- | --- |",
            *metrics,
            "",
            "The paper's definition of la-ROUGE is not public. Four readings are offered (`evaluate.la_rouge`):",
            "`a` multiplies F by `min(1, len(ref)/len(y))`, `b` by `min(len(y)/len(ref), len(ref)/len(y))`, `c` by",
            "`exp(1 - len(y)/len(ref))` where the output is the longer one, and `d` divides F by that of random output",
            "of the same length.",
            "",
            "## Failure modes by rule",
            "",
            "Rates of outputs that break a rule, with Wilson's interval; `any` is at least one. A rule is a tripwire,",
            "not a judge: human references break some of them too, if seldom.",
            "",
            "| key | rule |",
            "| --- | --- |",
            *rules,
            "",
        ]
    )


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    """Write every page, and remove help pages of commands that are gone."""
    made = pages()
    for old in (DOCS / "commands").glob("*.md"):
        if f"commands/{old.name}" not in made:
            old.unlink()
    for name, text in made.items():
        path = DOCS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    print(f"docs: {len(made)} pages written")


if __name__ == "__main__":
    main()

"""A hook of mkdocs: a line `[[homestretch.algorithms.ppo]]` becomes that module's docstring.

Equations and tables of notation keep their columns: a paragraph with a wide gap inside a line is shown as it stands.
"""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path
from typing import Any

SRC = Path(__file__).resolve().parent.parent / "src"
MARK = re.compile(r"^\[\[([\w.]+)\]\]$", re.MULTILINE)
COLUMNS = re.compile(r"\S {2,}\S")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """What mkdocs calls for every page."""
    return MARK.sub(lambda match: docstring(match[1]), markdown)


def docstring(module: str) -> str:
    """The docstring of a module as Markdown, read without importing it."""
    path = SRC.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not text:
        raise ValueError(f"{module} has no docstring")
    first, *rest = re.split(r"\n[ ]*\n", text)
    return "\n\n".join([first, *map(_paragraph, rest)])


def _paragraph(text: str) -> str:
    body = text.strip("\n")
    wide = any(COLUMNS.search(line) for line in body.splitlines())
    return textwrap.indent(body, "    ") if wide and not body.startswith("    ") else body

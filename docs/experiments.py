"""A hook of mkdocs: each `experiments/NAME/RESULTS.md` is a page, and pages that name one link to it."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NAMED = re.compile(r"`experiments/(\w+)/RESULTS\.md`")
TO_DOCS = "](../../docs/"


def on_files(files: Any, config: Any) -> Any:
    """The results, with their pictures, among the files of the site."""
    from mkdocs.structure.files import File  # not where tests read this file

    for page in sorted(ROOT.glob("experiments/*/RESULTS.md")):
        text = page.read_text(encoding="utf-8").replace(TO_DOCS, "](../")
        files.append(File.generated(config, f"experiments/{page.parent.name}.md", content=text))
        for picture in page.parent.glob("*.svg"):
            files.append(File.generated(config, f"experiments/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """What mkdocs calls for every page."""
    here = posixpath.dirname(page.file.src_uri)
    return NAMED.sub(lambda found: f"[{found[0]}]({posixpath.relpath(f'experiments/{found[1]}.md', here)})", markdown)

"""`metrics.jsonl`: one row an event, appended as it happens, cut back when a run resumes from before it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from homestretch import ranks


class MetricsLog:
    """Rows of numbers with the round (`step`) they belong to. Of several processes only the first writes."""

    def __init__(self, file: Path) -> None:
        self.file = file
        if ranks.is_first():
            file.parent.mkdir(parents=True, exist_ok=True)

    def write(self, step: int, row: dict[str, Any]) -> None:
        """Append one row; numbers that are not finite are written as null."""
        if not ranks.is_first():
            return
        clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        with self.file.open("a") as handle:
            handle.write(json.dumps({"step": step, **clean}) + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """All whole rows; a line that a crash cut short is left out."""
        if not self.file.exists():
            return []
        rows = []
        for line in self.file.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return rows

    def cut(self, step: int) -> None:
        """Drop rows of later steps than `step`."""
        if not ranks.is_first():
            return
        rows = [row for row in self.rows() if row["step"] <= step]
        beside = self.file.with_suffix(".writing")
        beside.write_text("".join(json.dumps(row) + "\n" for row in rows))
        beside.rename(self.file)

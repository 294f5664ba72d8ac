"""How often outputs that exist already fail, by rule: no model, no training.

    {"prompt": "...", "prediction": "...", "references": ["..."], "terminated": true, "arm": "mine"}

`predictions` (a list) holds several outputs of a prompt; `completion` or `reference` (text) count as references,
`document` is the text that the answer is about, `text` is another name for `prediction`, and rows of
`generations.jsonl` are understood. Everything but the prediction may be left out; rules that need it then stay silent.
Rows of one prompt about one text (`pairing`) count once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from homestretch.config.base import nearest
from homestretch.data.columns import columns_of
from homestretch.data.files import RawRow, parse_json, read_file
from homestretch.data.records import check_text
from homestretch.errors import DataError
from homestretch.metrics.failures import failure_rates
from homestretch.results import Measured

ONLY = "predictions"
PREDICTION = ("prediction", "predictions", "text")
Rates = dict[str, dict[str, Measured]]


def audit(path: str | Path) -> Rates:
    """Rate of each failure mode for each `arm` of the file (all rows together where there is no such column).

    Rates are shares of outputs, 0 to 1, with 95 % intervals over prompts. Raises DataError with `file:line` for the
    first bad row.
    """
    arms: dict[str, list[dict[str, Any]]] = {}
    for raw in read_file(Path(path)):
        for row in _outputs(raw):
            arms.setdefault(row["arm"], []).append(row)
    return {arm: failure_rates(rows) for arm, rows in arms.items()}


def as_json(rates: Rates) -> str:
    """The rates as JSON: arm -> failure mode -> value, low, high, n."""
    plain = {arm: {mode: m.model_dump(mode="json") for mode, m in found.items()} for arm, found in rates.items()}
    return json.dumps(plain, indent=2)


def _outputs(raw: RawRow) -> list[dict[str, Any]]:
    """A row of `failure_rates` for each output of one raw row."""
    value = columns_of(raw)
    if not isinstance(value, dict):
        raise DataError(f"{raw.where}: a row must be an object with a column `prediction`; correct the row.")
    row = {str(k): v for k, v in value.items() if v is not None}
    check_text(row, raw.where)
    name = next((n for n in PREDICTION if n in row), None)
    if name is None:
        raise DataError(f"{raw.where}: there is no column `prediction`; {_hint(row)}")
    shared = {
        "arm": str(row.get("arm", ONLY)),
        "id": raw.where,
        "prompt": _text(row, "prompt") or _text(row, "source", "document") or None,
        "source": _text(row, "source", "document", "prompt"),
        "references": _references(row, raw.where),
        "terminated": _terminated(row, raw.where),
    }
    texts = _texts(row[name], name, raw.where)
    return [{**shared, "text": text} for text in texts]


def _hint(row: dict[str, Any]) -> str:
    close = nearest("prediction", list(row)) if row else "the row is empty."
    return close.replace("known are", "rename one of") if row else close


def _texts(value: Any, name: str, where: str) -> list[str]:
    if name == "predictions" and isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = parse_json(value)  # a CSV cell holds a list as JSON
        except ValueError:
            raise DataError(f"{where}: `predictions` is not a JSON list; correct the cell.") from None
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise DataError(f"{where}: `{name}` must be text, or a list of texts; correct the row.")
    return texts


def _text(row: dict[str, Any], *names: str) -> str:
    """The text of the first of these columns that there is."""
    for name in names:
        value = row.get(name)
        if isinstance(value, str):
            return value
        if isinstance(value, list):
            return "\n".join(str(m.get("content", "")) for m in value if isinstance(m, dict))
    return ""


def _references(row: dict[str, Any], where: str) -> list[str]:
    value = row.get("references", row.get("reference", row.get("completion", [])))
    found = [value] if isinstance(value, str) else value
    if isinstance(found, list) and all(isinstance(m, dict) for m in found):
        found = ["\n".join(str(m.get("content", "")) for m in found)] if found else []
    if not isinstance(found, list) or not all(isinstance(r, str) for r in found):
        raise DataError(f"{where}: `references` must be a list of texts; correct the row.")
    return [r for r in found if r.strip()]


def _terminated(row: dict[str, Any], where: str) -> bool | None:
    value = row.get("terminated")
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if value is None or isinstance(value, bool):
        return value
    raise DataError(f"{where}: `terminated` = {value!r} must be true or false; correct the row.")

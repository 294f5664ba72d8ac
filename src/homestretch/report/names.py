"""What keys are called on the page, and how numbers are written."""

from __future__ import annotations

import re
from collections.abc import Iterable

MINUS = "\N{MINUS SIGN}"
METRICS = {
    "la_rougeL": "la-ROUGE-L",
    "la_rouge1": "la-ROUGE-1",
    "la_rouge2": "la-ROUGE-2",
    "rougeL": "ROUGE-L",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "bleu": "BLEU",
    "chrf": "chrF",
    "bleurt": "BLEURT",
    "bertscore": "BERTScore",
    "similarity": "sentence similarity",
    "distinct2": "distinct-2",
    "copy_rate": "copy rate",
    "length_ratio": "length ratio",
    "reward": "reward",
    "kl": "KL to the start, nats",
    "golden": "golden distance (to the oracle), nats a text",
    "proxy": "proxy distance (to the teacher), nats a text",
    "golden_jsd": "golden Jensen-Shannon divergence, nats a text",
    "proxy_jsd": "proxy Jensen-Shannon divergence, nats a text",
    "nll": "negative log-likelihood, nats a token",
}
SAMPLED = "@t1"


def metric_label(key: str) -> str:
    """`la_rougeL` -> `la-ROUGE-L`; a rate of failures and unknown keys are spelled out."""
    if key.startswith("failures/"):
        return f"failures: {mode_label(key.removeprefix('failures/'))}"
    if key.startswith("rewards/"):
        return f"reward: {key.removeprefix('rewards/').replace('_', ' ')}"
    return METRICS.get(key, key.replace("_", " "))


def mode_label(mode: str) -> str:
    """Name of a failure mode for readers."""
    return {"any": "any failure", "all": "all together"}.get(mode, mode.replace("_", " "))


def is_sampled(arm: str) -> bool:
    """True for arms that were sampled at temperature 1."""
    return arm.endswith(SAMPLED)


def partner(arm: str) -> str | None:
    """The arm that differs from `arm` by its model only: `rl_raw@t1` <-> `ml_raw@t1`."""
    match = re.fullmatch(r"(ml|rl)_(.+)", arm)
    return f"{'rl' if match[1] == 'ml' else 'ml'}_{match[2]}" if match else None


def decimals(values: Iterable[float]) -> int:
    """Digits behind the point that suit numbers of this size: 1 from 10 on, 2 from 1.5 on, else 3."""
    top = max((abs(v) for v in values), default=0.0)
    return 1 if top >= 10 else 2 if top >= 1.5 else 3


def apart_from_zero(digits: int, *values: float) -> int:
    """`digits`, or more (4 at most) so that no end of an interval is written as zero that is not zero."""
    while digits < 4 and any(v != 0 and float(f"{v:.{digits}f}") == 0 for v in values):
        digits += 1
    return digits


def number(value: float, digits: int) -> str:
    """`-1.25` -> `−1.2`, with a real minus sign and none before zero."""
    text = f"{value:.{digits}f}"
    if not text.startswith("-"):
        return text
    return text[1:] if float(text) == 0 else MINUS + text[1:]


def signed(value: float, digits: int) -> str:
    """Like `number`, with a plus sign before what is above zero."""
    text = number(value, digits)
    return text if text.startswith(MINUS) or float(text) == 0 else f"+{text}"


def percent(rate: float) -> str:
    """`0.184` -> `18 %`; below ten percent with one digit more."""
    return f"{100 * rate:.1f} %" if 0 < abs(rate) < 0.0995 else f"{100 * rate:.0f} %"


def p_value(p: float) -> str:
    """`p = 0.012`, `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def duration(seconds: float) -> str:
    """`95` -> `1 min 35 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def memory(size: int) -> str:
    """Bytes in units of 1024, e.g. `3.4 GiB`."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit in ("B", "KiB", "MiB") else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def listed(items: list[str]) -> str:
    """`a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""

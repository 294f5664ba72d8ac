"""Trackers beside `metrics.jsonl`: accelerate's, each a package of its own."""

from __future__ import annotations

from accelerate.tracking import get_available_trackers

from homestretch.errors import MissingDependency


def check_tracker(name: str) -> None:
    """Raise MissingDependency where the tracker's package is absent, which accelerate would pass over in silence."""
    if name != "none" and name not in map(str, get_available_trackers()):
        raise MissingDependency(
            f"report_to={name}: the package `{name}` is not installed; type `pip install {name}`, or leave report_to "
            "at none: metrics.jsonl is always written."
        )

"""One sentence of advice from the numbers of a comparison: the winner, its margin, and what it costs."""

from __future__ import annotations

from homestretch.compared import Compared, MethodRecord
from homestretch.report.names import apart_from_zero, decimals, duration, listed, metric_label, number, signed
from homestretch.report.verdict import find, outcome
from homestretch.results import Comparison


def advice(record: Compared) -> str:
    """Take the winner where its lead over every other is clear, else the cheapest of those it does not clearly beat.

    Cost is that of all training stages, in seconds a seed.
    """
    names = [place.method for place in record.ranking]
    if not names:
        return "No method finished, so there is nothing to advise."
    first, others = names[0], names[1:]
    if not others:
        return f"Only {_quoted([first])} finished, so there is nothing to compare it with."
    leads = {other: _lead(record, first, other) for other in others}
    tied = [first, *(other for other in others if outcome(leads[other]) != "better")]
    best = f"{metric_label(record.headline_metric)} of {_value(record, first)}"
    if len(tied) == 1:
        lead = leads[others[0]]
        return (
            f"Use {_quoted([first])}: its {best} is {_margin(lead)} away from that of the next, {_quoted(others[:1])}, "
            f"for {_cost(record.methods[first])}."
        )
    cheapest = min(tied, key=lambda name: _seconds(record.methods[name]))
    rest = [name for name in tied if name != first]
    which = f"over {_quoted(rest[:1])} " if len(rest) > 1 else ""
    doubt = f"its lead over {_quoted(rest)} may be chance ({which}{_margin(leads[rest[0]])})"
    if cheapest == first:
        return (
            f"Use {_quoted([first])}: it has the best {best}, and although {doubt}, it is the cheapest of these "
            f"at {_cost(record.methods[first])}."
        )
    return (
        f"Use {_quoted([cheapest])}: {_quoted([first])} has the best {best}, but {doubt}, and {_quoted([cheapest])} is "
        f"the cheapest of these at {_cost(record.methods[cheapest])} instead of {_cost(record.methods[first])}."
    )


def _lead(record: Compared, first: str, other: str) -> Comparison:
    found = find(record.results, first, other, record.headline_metric)
    assert found is not None, "every pair of methods is compared"
    return found


def _margin(lead: Comparison) -> str:
    digits = decimals([lead.difference, lead.low, lead.high])
    digits = apart_from_zero(digits, lead.low, lead.high)
    zero = ", which includes zero" if lead.low <= 0 <= lead.high else ""
    interval = f"95 % interval {signed(lead.low, digits)} to {signed(lead.high, digits)}{zero}"
    return (
        f"{signed(lead.difference, digits)}, {interval}" if zero else f"{signed(lead.difference, digits)} ({interval})"
    )


def _value(record: Compared, name: str) -> str:
    value = record.arms[name].measured[record.headline_metric].value
    return number(value, decimals([value]))


def _seconds(method: MethodRecord) -> float:
    return method.total.seconds if method.total else 0.0


def _cost(method: MethodRecord) -> str:
    return f"{duration(_seconds(method))} of training"


def _quoted(names: list[str]) -> str:
    return listed([f"`{name}`" for name in names])

"""English actions: which verbs do the same, which words mean the opposite. Enough to say a wrong thing well.

Two verbs of one group, or of two allied groups, can describe the same deed (`Return the mean`, `Compute the mean`);
exchanging those is no mistake, so `facts.action` never does.
"""

from __future__ import annotations

from functools import lru_cache

GROUPS: dict[str, frozenset[str]] = {
    name: frozenset(verbs.split())
    for name, verbs in {
        "produce": "return get compute calculate determine find retrieve obtain fetch yield give evaluate estimate "
        "provide extract count measure collect list select look query access derive generate produce predict "
        "approximate",
        "create": "create make build construct instantiate initialize prepare form allocate generate setup",
        "delete": "remove delete drop discard clear erase pop strip unregister detach uninstall purge clean reset",
        "add": "add append insert register attach push include extend install prepend mark",
        "test": "check test verify validate assert ensure compare detect indicate",
        "change": "set assign update modify change configure adjust override replace rename apply",
        "read": "read load parse open import decode receive scan restore deserialize",
        "write": "write save dump print emit store export send log serialize display show render draw plot "
        "format record",
        "stop": "close stop shutdown terminate exit finish cancel disable abort kill raise",
        "start": "start run execute launch call invoke open enable begin perform",
        "convert": "convert transform translate cast encode decode map wrap normalize",
        "divide": "split divide separate partition break chunk",
        "unite": "join merge combine concatenate stack unite group fuse",
        "order": "sort rank order arrange",
        "copy": "copy clone duplicate replicate move",
        "wait": "wait sleep block pause delay",
        "train": "train fit learn optimize fine-tune",
        "state": "propose present introduce develop describe design devise offer suggest study investigate explore "
        "examine analyze analyse demonstrate show prove discuss report consider",
        "improve": "improve enhance boost accelerate increase",
        "reduce": "reduce decrease lower minimize shrink compress",
        "avoid": "avoid prevent ignore skip exclude",
    }.items()
}
_ALLIED = {
    name: frozenset(others.split())
    for name, others in {
        "produce": "create read test convert write start state order divide copy unite train",
        "create": "add change write start convert state copy unite order train",
        "change": "add convert delete start improve reduce copy order train",
        "convert": "write read copy divide order",
        "start": "read test add train",
        "state": "add change test write",
        "avoid": "delete stop",
        "stop": "delete",
        "add": "unite",
    }.items()
}
_PAIRS = """
    true/false first/last minimum/maximum min/max smallest/largest smaller/larger lower/upper left/right start/end
    beginning/end before/after enable/disable enabled/disabled add/remove encode/decode encodes/decodes
    read/write reads/writes load/save loads/saves increase/decrease increases/decreases increasing/decreasing
    improve/degrade improves/degrades improved/degraded improving/degrading always/never with/without
    inside/outside include/exclude includes/excludes including/excluding compress/decompress row/column rows/columns
    horizontal/vertical horizontally/vertically ascending/descending valid/invalid supervised/unsupervised
    online/offline static/dynamic linear/nonlinear input/output inputs/outputs local/global positive/negative
    forward/backward outperforms/underperforms outperform/underperform faster/slower higher/lower more/less
    source/target sparse/dense discrete/continuous stable/unstable possible/impossible public/private
    parent/child encoder/decoder deterministic/stochastic shallow/deep strong/weak stronger/weaker simple/complex
    push/pop pack/unpack serialize/deserialize lock/unlock register/unregister start/stop success/failure
    succeeds/fails accept/reject train/test training/test client/server mutable/immutable
    previous/next even/odd symmetric/asymmetric synchronous/asynchronous relative/absolute necessary/unnecessary
"""


@lru_cache(maxsize=1)
def opposites() -> dict[str, tuple[str, ...]]:
    """Each word with its opposites, both ways, lower case."""
    found: dict[str, tuple[str, ...]] = {}
    for a, b in (pair.split("/") for pair in _PAIRS.split()):
        found[a] = (*found.get(a, ()), b)
        found[b] = (*found.get(b, ()), a)
    return found


@lru_cache(maxsize=4096)
def action_groups(verb: str) -> frozenset[str]:
    """Groups that a verb belongs to, as it stands or in the third person; empty where it is unknown."""
    return frozenset(name for name, verbs in GROUPS.items() if any(base in verbs for base in _bases(verb.lower())))


def third_person(verb: str) -> bool:
    """True for `returns`, False for `return`."""
    return not any(verb.lower() in verbs for verbs in GROUPS.values())


def contradict(ours: frozenset[str], theirs: frozenset[str]) -> bool:
    """True where no group of one is, or is allied to, a group of the other."""
    return not any(a == b or b in _ALLIED.get(a, ()) or a in _ALLIED.get(b, ()) for a in ours for b in theirs)


def group_words(groups: frozenset[str]) -> frozenset[str]:
    """All verbs of the groups."""
    return frozenset[str]().union(*(GROUPS[g] for g in groups))


def _bases(verb: str) -> tuple[str, ...]:
    return (verb, verb.removesuffix("s"), verb.removesuffix("es"), verb.removesuffix("ies") + "y")

"""Which samples the page shows, and their texts with the differences marked."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

from markupsafe import Markup, escape

from homestretch.report.diff import marked
from homestretch.report.names import is_sampled, number, partner
from homestretch.report.read import Output, RunView, Sample

MAX_BYTES = 2_200_000
CLIP = 2_000
OPEN = 3


@dataclass(frozen=True)
class ArmText:
    """One arm's output: marked text, or the name of an arm above that wrote the very same."""

    arm: str
    text: Markup
    same_as: str
    facts: str
    flags: tuple[str, ...]


@dataclass(frozen=True)
class SampleView:
    """One prompt as the page shows it; `changed`: `rl` wrote something else than `ml`."""

    id: str
    teaser: str
    prompt: str
    references: list[str]
    arms: list[ArmText]
    changed: bool
    failed: bool
    open: bool


def merge(runs: list[RunView]) -> list[Sample]:
    """Samples of all runs, joined as arms are paired; with several runs an arm is named `run · arm`."""
    if len(runs) == 1:
        return runs[0].samples
    found: dict[Hashable, Sample] = {}
    for run in runs:
        for sample in run.samples:
            into = found.setdefault(sample.answer, replace(sample, outputs={}))
            into.outputs.update({f"{run.name} · {arm}": out for arm, out in sample.outputs.items()})
    return list(found.values())


def choose(samples: list[Sample], limit: int) -> list[Sample]:
    """At most `limit` samples that fit the page, spread evenly over the file so that none is picked for its look."""
    if not samples:
        return []
    room = max(1, int(MAX_BYTES / (sum(_cost(s) for s in samples) / len(samples))))
    count = min(len(samples), limit, room)
    return [samples[i * len(samples) // count] for i in range(count)]


def view(samples: list[Sample]) -> list[SampleView]:
    """The samples with their differences marked."""
    return [_view(sample, place < OPEN) for place, sample in enumerate(samples)]


def clip(text: str, *, whole: str = "generations.jsonl") -> str:
    """Long text cut at `CLIP` characters, saying how much is left out, and where it is whole."""
    if len(text) <= CLIP:
        return text
    return f"{text[:CLIP]} […{len(text) - CLIP:,} more characters in {whole}]"


def _cost(sample: Sample) -> int:
    # Measured on pages: markup around a sample and an output, and up to three bytes a byte where words are marked.
    fixed = 600 + 180 * len(sample.outputs)
    texts = [sample.prompt, *sample.references]
    once = sum(len(escape(clip(t)).encode()) for t in texts)
    distinct = {out.text for out in sample.outputs.values()}
    return fixed + once + 3 * sum(len(escape(clip(t)).encode()) for t in distinct)


def _view(sample: Sample, is_open: bool) -> SampleView:
    first: dict[str, str] = {}
    arms, changed = [], False
    for arm in sorted(sample.outputs, key=is_sampled):
        out = sample.outputs[arm]
        other = _partner(sample, arm)
        changed |= other is not None and other.text != out.text
        same_as = first.get(out.text, "")
        text = Markup("") if same_as else _marked(sample, arm, out, other)
        first.setdefault(out.text, arm)
        arms.append(ArmText(arm, text, same_as, _facts(out), _flags(out)))
    failed = any(a.flags for a in arms)
    teaser = " ".join(sample.prompt.split())
    references = [clip(r) for r in sample.references]
    shown = teaser if len(teaser) <= 140 else teaser[:139] + "…"
    return SampleView(sample.id, shown, clip(sample.prompt), references, arms, changed, failed, is_open)


def _partner(sample: Sample, arm: str) -> Output | None:
    run, dot, name = arm.rpartition(" · ")
    other = partner(name)
    return sample.outputs.get(f"{run}{dot}{other}") if other else None


def _marked(sample: Sample, arm: str, out: Output, other: Output | None) -> Markup:
    own = "new" if arm.rpartition(" · ")[2].startswith("rl") else "gone"
    reference = sample.references[0] if sample.references else ""
    return marked(clip(out.text), reference=reference, partner=clip(other.text) if other else None, own=own)


def _facts(out: Output) -> str:
    parts = [f"{out.tokens} tokens"] if out.tokens is not None else []
    parts += [f"reward {number(out.reward, 2)}"] if out.reward is not None else []
    return ", ".join(parts)


def _flags(out: Output) -> tuple[str, ...]:
    ended = () if out.terminated else ("no end marker",)
    return (*ended, *(f.replace("_", " ") for f in out.failures))

"""Write the pages that repeat what the code says: help of every command, equations of every metric, the plan.

    python docs/generate.py    writes docs/commands/*.md, docs/metrics/outputs.md, the tables of docs/scaling.md,
                               docs/which-method.md and README.md, and the counts of docs/reliability.md

A test compares these files with `pages()`, so that a stale one is refused.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import os
import re
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any

DOCS = Path(__file__).resolve().parent
BENCHMARKS = DOCS.parent / "benchmarks"
EXPERIMENTS = DOCS.parent / "experiments"
RESULTS = "RESULTS.md"
NOTE = "<!-- Written by docs/generate.py; change the code instead. -->"


def pages() -> dict[str, str]:
    """Text of every generated page, by its path below docs."""
    return {
        **command_pages(),
        "metrics/outputs.md": metrics_page(),
        "scaling.md": scaling_page(),
        "reliability.md": reliability_page(),
        "which-method.md": methods_page(),
        "../README.md": readme_page(),
    }


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
            "What `results.json` has for each arm. Intervals are 95 % bootstrap intervals over prompts: rows with the",
            "same `prompt` and `source` are averaged first, and n counts prompts. Comparisons are paired by `id` and",
            "prompt, where rows have no `id` by prompt and order, with p-values of random sign flips; both take 10,000",
            "draws.",
            "",
            "| key | equation | better | needs |",
            "| --- | --- | --- | --- |",
            *metrics,
            "",
            "la-ROUGE is by Solway (2024, arXiv:2408.16753), whose definition we have not seen.",
            "Four readings are offered (`evaluate.la_rouge`):",
            "`a` multiplies F by `min(1, len(ref)/len(y))`, `b` by `min(len(y)/len(ref), len(ref)/len(y))`, `c` by",
            "`exp(1 - len(y)/len(ref))` where the output is the longer one, and `d` divides F by that of random output",
            "of the same length.",
            "",
            "Words of ROUGE, of lengths and of copies are those of the package `rouge-score` (lower case, runs of a-z",
            "and 0-9; accented Latin letters separate them), and letters of other scripts, which it leaves out: their",
            "runs, and each character by itself in Han, kana, Thai, Lao, Khmer and Myanmar. Words of distinct-2 keep",
            "accented letters. BLEU has the tokens `13a` of sacrebleu, which do not divide such scripts.",
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


def scaling_page() -> str:
    """The page as it is, with the plan of `benchmarks/scaling.py --plan` and what `--save` kept."""
    saved = BENCHMARKS / "results" / "scaling.json"
    found = json.loads(saved.read_text(encoding="utf-8")) if saved.is_file() else None
    text = (DOCS / "scaling.md").read_text(encoding="utf-8")
    return filled(
        filled(text, "plan", _module(BENCHMARKS / "scaling_plan.py").default_plan()), "measured", measured_tables(found)
    )


def readme_page() -> str:
    """README as it is, with its tables as they are measured now."""
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    for name, table in _module(DOCS / "readme.py").tables().items():
        text = filled(text, name, table)
    return text


def reliability_page() -> str:
    """The page as it is, with the counts that `tests/crash.py --save` kept."""
    saved = BENCHMARKS / "results" / "crash.json"
    found = json.loads(saved.read_text(encoding="utf-8")) if saved.is_file() else None
    return filled((DOCS / "reliability.md").read_text(encoding="utf-8"), "counts", crash_counts(found))


def crash_counts(found: dict[str, Any] | None) -> str:
    """Counts of the crash campaign; a sentence where it has not run."""
    if found is None or not {"kills", "cases", "events"} <= found.keys():
        return "No counts are kept yet: `python tests/crash.py --save` writes them to `benchmarks/results/crash.json`."
    kills, families, events = found["kills"], found["cases"]["families"], found["events"]["events"]
    total = sum(tally["cases"] for tally in families.values())
    command = f"python tests/crash.py --points {kills['points']} --cases {total} --seed {found['seed']} --save"
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    where = ", ".join(f"{place} {count}" for place, count in kills["places"].items())
    verdicts, rows = [event["verdict"] for event in events], families["rows"]
    wrong = sum(len(found[part]["wrong"]) for part in ("kills", "cases", "events"))
    return "\n".join(
        [
            f"`{command}` on {found['machine']} ({versions}):",
            "",
            f"- {kills['points']} kills. Where: {where}.",
            f"- {kills['equal']} of {kills['runs']} runs, killed or twins, ended with the bytes of an undisturbed one.",
            *(
                f"- {tally['cases']:,} cases of {name}: {tally['done']:,} done, {tally['refused']:,} refused in a "
                f"sentence; {tally['real']} were given to a process of their own too."
                for name, tally in families.items()
            ),
            f"- {rows['rows']:,} rows read, {rows['kept']:,} kept, {rows['rejected']:,} in `rejected.jsonl`.",
            f"- {len(events)} events: {verdicts.count('ok')} went as promised, {verdicts.count('skipped')} skipped.",
            f"- {wrong} of all this went wrong.",
        ]
    )


def filled(text: str, name: str, table: str) -> str:
    """A page with `table` between its lines `<!-- name -->` and `<!-- end -->`."""
    before, mark, rest = text.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition("<!-- end -->")
    assert mark
    assert end
    return f"{before}{mark}\n{table}\n\n{end}{after}".replace("\n\n\n", "\n\n")


def _module(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measured_tables(found: dict[str, Any] | None) -> str:
    """Peaks and exponents that `benchmarks/scaling.py --save` kept; a sentence where it has not run."""
    if found is None:
        return "No result is kept yet: the command writes it to `benchmarks/results/scaling.json`."
    time = next(c for c in found["cases"] if c["case"].startswith("time"))
    points = [
        f"| {p['case']} | {p['value']:,} | {_pair(p, 1e9)} | {_pair(t, 1)} |"
        for p, t in zip(found["points"], time["points"], strict=True)
    ]
    curves = [
        f"| {c['case']} (`{c['stage']}`) | {', '.join(f'{v:,}' for v in c['values'])} "
        f"| {c['exponents']['time']:.2f} | {c['exponents']['memory']:.2f} |"
        for c in found["cases"]
        if "exponents" in c
    ]
    pair = next(c for c in found["cases"] if c["case"] == "two processes")
    return "\n".join(
        [
            f"{found['model']} on {found['machine']}.",
            f"Predicted / measured peak memory: {_interval(found)}, median and 95 % bootstrap interval.",
            f"Of the time of a step: {_interval(time)}.",
            "",
            "| stage `sft` | tokens | predicted, GB | measured | ratio | predicted, s | measured | ratio |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *points,
            "",
            "| against | values | exponent of time | of peak memory |",
            "| --- | --- | --- | --- |",
            *curves,
            "",
            f"Two processes on the same cores are {_interval(pair)} times as fast as one.",
        ]
    )


def _pair(point: dict[str, Any], unit: float) -> str:
    predicted, measured = point["predicted"], point["measured"]
    return f"{predicted / unit:.2f} | {measured / unit:.2f} | {predicted / measured:.2f}"


def _interval(found: dict[str, Any]) -> str:
    return f"{found['ratio']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def methods_page() -> str:
    """The page as it is, with the recipes, and tables out of the experiments."""
    text = (DOCS / "which-method.md").read_text(encoding="utf-8")
    text = filled(filled(text, "recipes", _recipes()), "experiments", _experiments())
    for name in ("last_mile", "compare"):
        text = filled(text, name, first_table(EXPERIMENTS / name / RESULTS))
    return text


def _recipes() -> str:
    from homestretch.config.shipped import shipped, when

    rows = ["| take | when | recipes |", "| --- | --- | --- |"]
    for method, group in groupby(shipped().items(), lambda item: item[0].partition("/")[0]):
        listed = list(group)
        names = ", ".join(f"`{name}`" for name, _ in listed)
        rows.append(f"| `{method}` | {_cell(when(listed[0][1]))} | {names} |")
    return "\n".join(rows)


def _experiments() -> str:
    """A line for each folder of experiments: what it is about, and whether it has results."""
    rows = ["| experiment | what it is about | results |", "| --- | --- | --- |"]
    for folder in sorted(path for path in EXPERIMENTS.iterdir() if any(path.glob("*.py"))):
        found = f"`experiments/{folder.name}/{RESULTS}`" if (folder / RESULTS).is_file() else "not run yet"
        rows.append(f"| `{folder.name}` | {_cell(_about(folder))} | {found} |")
    return "\n".join(rows)


def _about(folder: Path) -> str:
    """The title of an experiment's results, or the first paragraph of its main script."""
    if (folder / RESULTS).is_file():
        return (folder / RESULTS).read_text(encoding="utf-8").splitlines()[0].lstrip("# ").partition(":")[0]
    scripts = sorted(folder.glob("*.py"), key=lambda path: (path.name != "run.py", path.name))
    text = ast.get_docstring(ast.parse(scripts[0].read_text(encoding="utf-8"))) or ""
    return text.partition("\n\n")[0].rstrip(".")


def first_table(file: Path) -> str:
    """The first table of a page of results, its links as plain text; a sentence where there is none yet."""
    if not file.is_file():
        return f"Not run yet: `experiments/{file.parent.name}` has no results."
    lines = file.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    end = next((i for i in range(start, len(lines)) if not lines[i].startswith("|")), len(lines))
    table = "\n".join(lines[start:end])
    return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", f"From `experiments/{file.parent.name}/{RESULTS}`:\n\n{table}")


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

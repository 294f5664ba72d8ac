"""The documentation tells the truth: help pages and tables are current, rows and code on its pages work."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import tiny

import homestretch
from homestretch.cli.main import app
from homestretch.data.records import example_from_row

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
KEY = re.compile(r"(objective|policy|val|loss|completions)/[a-z_]+")


def module_of(file: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{file[:-3]}", DOCS / file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    pages = module_of("generate.py").pages()
    stale = [name for name, text in pages.items() if (DOCS / name).read_text(encoding="utf-8") != text]
    assert stale == [], "run `python docs/generate.py`"
    there = {f"commands/{path.name}" for path in (DOCS / "commands").glob("*.md")}
    assert there == {name for name in pages if name.startswith("commands/")}
    assert len(there) == len(app.registered_commands) + len(app.registered_groups) == 15


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("nav:")[2]
    named = set(re.findall(r"[\w/-]+\.md", navigation))
    measured = {f"experiments/{path.parent.name}.md" for path in ROOT.glob("experiments/*/RESULTS.md")}
    assert named == measured | {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}


def test_pages_of_the_site_link_to_the_results_that_they_name() -> None:
    hook = module_of("experiments.py")
    text = "Tables are in `experiments/ift/RESULTS.md`, not in `experiments/ift/run.py`."
    for here, link in (("log.md", "experiments/ift.md"), ("methods/ift.md", "../experiments/ift.md")):
        page = SimpleNamespace(file=SimpleNamespace(src_uri=here))
        linked = f"Tables are in [`experiments/ift/RESULTS.md`]({link}), not in `experiments/ift/run.py`."
        assert hook.on_page_markdown(text, page=page) == linked
    for name in hook.NAMED.findall("".join(path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md"))):
        assert (ROOT / "experiments" / name / "RESULTS.md").is_file()


def test_tables_of_the_page_on_scale_are_those_of_the_results() -> None:
    generate = module_of("generate.py")
    page = "a\n<!-- plan -->\nold\n<!-- end -->\nb\n<!-- measured -->\n<!-- end -->\n"
    filled = generate.filled(generate.filled(page, "plan", "| new |"), "measured", "| 1 |")
    assert filled == ("a\n<!-- plan -->\n\n| new |\n\n<!-- end -->\nb\n<!-- measured -->\n\n| 1 |\n\n<!-- end -->\n")
    assert generate.filled(filled, "plan", "| new |") == filled
    curve = {"case": "rows", "stage": "sft", "values": [2, 4], "exponents": {"time": 0.9, "memory": 0.1}}
    ratio = {"ratio": 0.98, "low": 0.9, "high": 1.04}
    point = {"case": "LoRA", "value": 1024, "predicted": 1.5e9, "measured": 2e9}
    time = {"case": "time of a step", **ratio, "points": [point | {"predicted": 6.0, "measured": 4.0}]}
    cases = [curve, {"case": "two processes", **ratio}, time]
    made = generate.measured_tables({"model": "M", "machine": "C", **ratio, "points": [point], "cases": cases})
    assert "| LoRA | 1,024 | 1.50 | 2.00 | 0.75 | 6.00 | 4.00 | 1.50 |" in made
    assert "| rows (`sft`) | 2, 4 | 0.90 | 0.10 |" in made
    assert made.count("0.98 (0.90 to 1.04)") == 3


def test_the_table_of_speeds_has_the_cases_that_were_measured(tmp_path: Path) -> None:
    readme = module_of("readme.py")
    case = {"case": "lora, float32", "ratio": 2.246, "low": 2.1, "high": 2.31, "rounds": 2}
    record = {
        "name": "sft",
        "command": "benchmarks/sft.py --rounds 2",
        "cases": [case | {"peak_bytes": {"a": 3, "b": 12}}],
    }
    (tmp_path / "epyc-avx2.jsonl").write_text(json.dumps(record) + "\n")
    other = {"name": "decode_ragged", "command": "benchmarks/decode_ragged.py", "cases": [case | {"rounds": 1}]}
    other["cases"][0]["case"] = next(name for bench, name in readme.SPEEDS if bench == "decode_ragged")
    (tmp_path / "xeon-amx.jsonl").write_text(json.dumps(other) + "\n")
    assert readme.speeds(tmp_path).splitlines()[2:] == [
        "| fine-tuning, LoRA, float32 | 2.25 times (2.10 to 2.31) | 0.25 | EPYC, AVX2 "
        "| `benchmarks/sft.py --rounds 2` |",
        "| decoding, rows that end at different times, against the same | 2.25 times (one round) |  | Xeon, AMX "
        "| `benchmarks/decode_ragged.py` |",
    ]
    (tmp_path / "epyc-avx512.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(ValueError, match="is in another file too"):
        readme.speeds(tmp_path)


def test_every_measured_machine_and_quoted_case_has_a_name() -> None:
    readme = module_of("readme.py")
    files = sorted(readme.RESULTS.glob("*.jsonl"))
    assert {file.stem for file in files} <= set(readme.MACHINES)
    known = {json.loads(line)["name"] for file in files for line in file.read_text().splitlines()}
    quoted = {key for key in readme.SPEEDS if key[0] in known}
    assert quoted <= set(readme.measured(readme.RESULTS)), "a case was renamed"


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*DOCS.rglob("*.md"), ROOT / "README.md"]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in link and not link.endswith(".png"):
                assert (page.parent / link).exists(), f"{page}: {link}"


def test_rows_to_copy_are_read() -> None:
    blocks = re.findall(r"```json\n(.*?)```", (DOCS / "data.md").read_text(encoding="utf-8"), re.DOTALL)
    rows = [json.loads(line) for block in blocks for line in block.splitlines()]
    assert len(rows) == 9
    for number, row in enumerate(rows):
        assert example_from_row(row, where=f"data.md:{number}").references[0].strip()


def test_docstrings_on_pages_keep_their_columns() -> None:
    hook = module_of("docstrings.py")
    page = hook.on_page_markdown("# Title\n\n[[homestretch.algorithms.ppo]]\n")
    assert "[[" not in page
    assert "    r_t   = 1[t = L]" in page
    assert re.search(r"^    Notation    R: ", page, re.MULTILINE)
    assert re.search(r"^Strategy R2", page, re.MULTILINE)
    for text in (DOCS / "methods").glob("*.md"):
        assert hook.MARK.search(text.read_text(encoding="utf-8"))


def is_term(value: ast.expr) -> bool:
    """A diagnostic is a pair of values and their mask."""
    return isinstance(value, ast.Tuple) and len(value.elts) == 2


def test_every_logged_key_has_its_line() -> None:
    page = (DOCS / "metrics" / "logged.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`[^|]+`) \|", page, re.MULTILINE)
    documented = {key for cell in cells for key in re.findall(r"`([^`]+)`", cell)}
    logged = set()
    for path in [
        *(ROOT / "src/homestretch/algorithms").rglob("*.py"),
        *(ROOT / "src/homestretch/training").rglob("*.py"),
    ]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and KEY.fullmatch(str(node.value)):
                logged.add(node.value)
            if isinstance(node, ast.Dict) and all(is_term(value) for value in node.values):
                logged |= {key.value for key in node.keys if isinstance(key, ast.Constant)}
    assert {"nll", "floored", "token_accuracy", "logp_chosen", "objective/kl"} <= logged
    assert len(logged) >= 20
    assert logged <= documented


def test_public_names_are_sorted_and_there() -> None:
    assert homestretch.__all__ == sorted(homestretch.__all__, key=isort_style)
    for name in homestretch.__all__:
        assert getattr(homestretch, name).__doc__ or name == "STAGES"
    assert set(homestretch.__all__) < set(dir(homestretch))
    with pytest.raises(AttributeError, match="has no `nothing`"):
        _ = homestretch.nothing


def test_every_verb_is_on_the_page_about_python() -> None:
    page = (DOCS / "python.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^::: homestretch\.(verbs\.\w+)\n    options: \{members: \[([^]]+)\]", page, re.MULTILINE))
    verbs = {name: home for name, home in homestretch._HOME.items() if home.startswith("verbs.")}
    assert len(verbs) >= 16
    assert [name for name, home in verbs.items() if name not in shown.get(home, "").split(", ")] == []


def test_results_that_pages_speak_of_are_there() -> None:
    for page in [*DOCS.rglob("*.md"), ROOT / "README.md"]:
        for file in re.findall(r"experiments/\w+/\w+\.md", page.read_text(encoding="utf-8")):
            assert (ROOT / file).is_file(), f"{page}: {file}"


def test_tables_of_results_are_copied_without_their_links(tmp_path: Path) -> None:
    file = tmp_path / "some" / "RESULTS.md"
    assert module_of("generate.py").first_table(file) == "Not run yet: `experiments/some` has no results."
    file.parent.mkdir()
    file.write_text("# Some\n\ntext | more\n\n| a | b |\n| --- | --- |\n| [log](../log.md) | 1 |\n\n| later |\n")
    table = "From `experiments/some/RESULTS.md`:\n\n| a | b |\n| --- | --- |\n| log | 1 |"
    assert module_of("generate.py").first_table(file) == table


def isort_style(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2, name)


def test_importing_the_package_is_light() -> None:
    code = "import sys, homestretch; assert not {'torch', 'numpy', 'pydantic', 'yaml'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_version_stands_in_one_place_and_is_repeated_rightly() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == homestretch.__version__


def python_blocks() -> list[str]:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "python.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    return blocks


def test_the_light_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(python_blocks()[0], {})
    assert len(Path("negatives.jsonl").read_text(encoding="utf-8").splitlines()) > 20


@pytest.mark.slow
def test_the_whole_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = {"sft.max_steps": 2, "reward.max_steps": 2, "ppo.max_steps": 2, "ppo.rollout_batch_size": 8}
    small |= {"evaluate.metrics": ["la_rougeL"], "dataset.max_completion_length": 48}
    code = python_blocks()[1].replace("overrides={", f"overrides={{**{small!r}, ")
    names = {"model": tiny.save(tmp_path / "model", "llama"), "homestretch": homestretch}
    exec(python_blocks()[0], {})
    exec(code, names)
    assert Path("runs/mine/report.html").is_file()

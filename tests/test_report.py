"""The report page: what it says, what it shows of half-finished runs, and that nothing in it can act."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_fixture import EVIL, RIGHT_TO_LEFT, write_run

import homestretch.report as package
from homestretch.errors import InputError
from homestretch.report.page import write_report
from homestretch.report.read import read_run
from homestretch.report.samples import choose
from homestretch.results import Results, RunFolder, StageRecord

ORDER = ("verdict", "arms", "comparisons", "failures", "lengths", "training", "reward", "samples", "making")


class Page(HTMLParser):
    """Elements and visible text of a page; what stands in style and script is not text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.parts: list[str] = []
        self._inside = ""
        self.feed(html)
        self.text = re.sub(r"\s+", " ", "".join(self.parts))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = "" if tag == self._inside else self._inside

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.parts.append(data)

    def ids(self) -> list[str]:
        return [a["id"] or "" for _, a in self.elements if "id" in a]

    def count(self, tag: str, css: str = "") -> int:
        return sum(t == tag and css in ["", *(a.get("class") or "").split()] for t, a in self.elements)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return write_run(tmp_path_factory.mktemp("runs") / "full")


@pytest.fixture(scope="module")
def html(run: RunFolder) -> str:
    return write_report([run.path], run.report).read_text("utf-8")


def test_sections_stand_in_order(html: str) -> None:
    ids = [i for i in Page(html).ids() if i in ORDER]
    assert ids == list(ORDER)


def test_ids_are_unique_and_every_reference_has_its_target(html: str) -> None:
    ids = Page(html).ids()
    assert len(ids) == len(set(ids))
    targets = set(re.findall(r'(?:href="#|url\(#)([^")]+)', html))
    assert targets and targets <= set(ids)


def test_everything_measured_is_on_the_page(html: str, run: RunFolder) -> None:
    text = Page(html).text
    for arm in Results.read(run.results).arms:
        assert arm in text
    for words in ("la-ROUGE-L", "24.4", "23.1 to 25.7", "not trained on", "0.871", "raise kl_coef or stop at step 15",
                  "kl_coef: 0.05", "transformers", "5.23.0", "2.7 GiB", "5 min 01 s", "All 24 test prompts",
                  "the same text as ml_raw", "no end marker"):  # fmt: skip
        assert words in text, words


def test_what_a_model_wrote_stays_text(html: str) -> None:
    page = Page(html)
    assert EVIL.replace("  ", " ") in page.text
    assert page.count("script") == 1 and page.count("img") == 0
    assert not [a for _, attrs in page.elements for a in attrs if a.startswith("on")]


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", prompts=3)
    evil = "<script>x</script>\"'$\\frac$"
    results = Results.read(run.results)
    arm = results.arms["ml_raw"].model_copy(
        update={"failure_modes": {evil: results.arms["ml_raw"].failure_modes["any"]}}
    )
    results.model_copy(update={"arms": {**results.arms, "ml_raw": arm, evil: arm}, "dataset": evil}).write(run.results)
    run.recipe.write_text(evil)
    row = {"id": evil, "arm": evil, "prompt": [{"role": evil, "content": "\ud800\x00"}], "text": "\x1b[1m"}
    run.generations.write_text(json.dumps(row) + "\n" + '{"id": "a", "arm')
    page = Page(write_report([run.path], tmp_path / "r.html").read_text("utf-8"))
    assert page.count("script") == 1
    assert evil in page.text and "\N{SYMBOL FOR NULL}" in page.text and "\N{SYMBOL FOR ESCAPE}[1m" in page.text
    assert "line 2 cannot be read" in page.text


def test_nothing_is_loaded_from_anywhere(html: str) -> None:
    page = Page(html)
    links = [a[k] for _, a in page.elements for k in ("src", "href", "srcset", "action", "data") if k in a]
    assert all(link == "data:," or link.startswith("#") for link in links if link is not None)
    assert not re.findall(r"url\((?!#)|@import", html)
    policy = next(a["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a)
    assert policy is not None and policy.startswith("default-src 'none'")
    assert "http://" not in html and "https://" not in html


def test_same_run_same_bytes(run: RunFolder, html: str, tmp_path: Path) -> None:
    assert write_report([run.path], tmp_path / "again.html").read_text("utf-8") == html


def test_readable_without_script(html: str) -> None:
    page = Page(html)
    hidden = [(t, a.get("class")) for t, a in page.elements if "hidden" in a]
    assert hidden == [("form", "tools")]
    assert page.count("details", "sample") == 24


def test_right_to_left_text_decides_its_own_direction(html: str) -> None:
    assert RIGHT_TO_LEFT.split()[0] in html
    page = Page(html)
    texts = [a for t, a in page.elements if t == "p" and "text" in (a.get("class") or "").split()]
    assert texts and all(a.get("dir") == "auto" for a in texts)


@pytest.mark.parametrize(
    ("until", "says"),
    [("sft", ["No verdict yet", "no evaluation yet", "01-sft"]), ("ppo", ["04-ppo", "No arm has been evaluated yet"])],
)
def test_unfinished_runs_say_what_is_missing(tmp_path: Path, until: str, says: list[str]) -> None:
    run = write_run(tmp_path / "r", until=until)
    text = Page(write_report([run.path], run.report).read_text("utf-8")).text
    assert all(words in text for words in says)


def test_a_failed_stage_is_named_with_its_reason(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", until="reward")
    failed = StageRecord(name="ppo", status="failed", error="The loss was not finite for three steps in a row.")
    failed.write(run.stage(4, "ppo").record)
    StageRecord(name="evaluate", status="running").write(run.stage(5, "evaluate").record)
    text = Page(write_report([run.path], run.report).read_text("utf-8")).text
    assert "Stage 04-ppo failed: The loss was not finite for three steps in a row." in text
    assert "Stage 05-evaluate has not finished" in text


def test_the_stage_that_writes_the_page_is_not_called_unfinished(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", prompts=3)
    StageRecord(name="report", status="running").write(run.stage(6, "report").record)
    text = Page(write_report([run.path], run.report).read_text("utf-8")).text
    assert "06-report" not in text
    assert "What is missing" not in text


def test_a_run_that_only_left_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("stages: []\n")
    assert "No verdict yet" in write_report([tmp_path], tmp_path / "r.html").read_text("utf-8")


@pytest.mark.slow
def test_several_runs_stand_side_by_side(run: RunFolder, tmp_path: Path) -> None:
    other = write_run(tmp_path / "full", gain=0.5, prompts=24)
    page = Page(write_report([run.path, other.path], tmp_path / "both.html").read_text("utf-8"))
    for arm in ("full (1) · ml_raw", "full (2) · rl_raw@t1"):
        assert arm in page.text
    assert "is better than" in page.text and "does not show a difference" in page.text
    assert page.count("details", "sample") == 24
    assert len(page.ids()) == len(set(page.ids()))


@pytest.mark.slow
def test_long_test_sets_are_capped_and_say_so(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", prompts=3000)
    page = write_report([run.path], run.report, max_samples=500)
    text = page.read_text("utf-8")
    assert "500 of 3,000 test prompts, spread evenly over the set" in text
    assert page.stat().st_size <= 3_000_000


@pytest.mark.parametrize("words", [30, pytest.param(3000, marks=pytest.mark.slow)])
def test_the_page_stays_below_three_megabytes(tmp_path: Path, words: int) -> None:
    run = write_run(tmp_path / "r", prompts=500, words=words)
    page = write_report([run.path], run.report, max_samples=500)
    assert page.stat().st_size <= 3_000_000
    shown = Page(page.read_text("utf-8")).count("details", "sample")
    assert shown == 500 if words == 30 else 50 < shown < 500


def test_samples_are_spread_evenly(tmp_path: Path) -> None:
    samples = read_run(write_run(tmp_path / "r", prompts=10).path).samples
    assert [s.id for s in choose(samples, 4)] == ["test-0000", "test-0002", "test-0005", "test-0007"]


def test_folders_that_are_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such folder"):
        write_report([tmp_path / "no"], tmp_path / "r.html")
    with pytest.raises(InputError, match="not the folder of a run"):
        write_report([tmp_path], tmp_path / "r.html")
    with pytest.raises(InputError, match="no run was named"):
        write_report([], tmp_path / "r.html")


def test_results_of_a_newer_schema_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", prompts=3)
    run.results.write_text('{"schema_version": 99}')
    with pytest.raises(InputError, match="schema version 99"):
        write_report([run.path], run.report)


def test_numbers_that_cannot_be_drawn_are_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", until="sft")
    rows = [
        '{"step": 1, "loss": NaN, "reward": 1e400}',
        '{"step": 2, "loss": 2.0}',
        '{"step": 3, "loss": 1.0}',
        "{",
        "7",
    ]
    run.stage(1, "sft").metrics.write_text("\n".join(rows))
    text = write_report([run.path], run.report).read_text("utf-8")
    assert ">loss</figcaption>" in text and "nan" not in text.lower().replace("nano", "")
    assert "2 lines, the first of them line 4, cannot be read" in text


def test_charts_are_drawn_in_the_style_sheets_colours(html: str) -> None:
    drawings = re.findall(r"<svg .*?</svg>", html, flags=re.DOTALL)
    assert len(drawings) >= 15
    fixed = {c for d in drawings for c in re.findall(r"#[0-9a-fA-F]{6}", d)}
    assert fixed == set()
    assert all('role="img" aria-label="' in d for d in drawings)


def test_report_knows_results_only() -> None:
    imported = set()
    for source in Path(package.__path__[0]).glob("*.py"):
        imported |= set(re.findall(r"^(?:from|import) (homestretch[.\w]*)", source.read_text(), flags=re.MULTILINE))
    outside = {m for m in imported if not m.startswith("homestretch.report")}
    records = {"homestretch.compared", "homestretch.lab", "homestretch.ordered", "homestretch.results"}
    laws = {m for m in outside if m.startswith("homestretch.alarms.")}  # mathematics of numbers that records have
    assert outside - laws == {*records, "homestretch.errors", "homestretch.pairing", "homestretch.writing"}

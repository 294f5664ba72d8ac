"""The advice, the tables and the page of a comparison."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from comparison_fixture import make_record
from matplotlib.image import imread
from report_fixture import EVIL
from test_report import Page
from test_report_browser import OPTIONS

from homestretch.compared import Compared
from homestretch.errors import InputError
from homestretch.report.advice import advice
from homestretch.report.comparison_page import render, series_of, write_page
from homestretch.report.methods_table import cost_table, making_table, rank_table, seed_table, share, summary_table


def test_a_clear_winner_is_advised_with_its_margin_and_cost() -> None:
    assert advice(make_record()) == (
        "Use `ppo`: its la-ROUGE-L of 26.7 is +1.50 (95 % interval +0.90 to +2.10) away from that of the next, `dpo`, "
        "for 15 min 00 s of training."
    )


def test_a_lead_that_may_be_chance_gives_way_to_the_cheapest_of_the_tied() -> None:
    said = advice(make_record(half=1.6))
    assert said == (
        "Use `dpo`: `ppo` has the best la-ROUGE-L of 26.7, but its lead over `dpo` may be chance (+1.50, 95 % interval "
        "−0.10 to +3.10, which includes zero), and `dpo` is the cheapest of these at 3 min 10 s of training instead of "
        "15 min 00 s of training."
    )
    said = advice(make_record(half=9.0))
    assert (
        said.startswith("Use `ml`: `ppo` has the best")
        and "over `dpo` and `ml` may be chance (over `dpo` +1.5, 95 %" in said
    )
    said = advice(make_record(half=1.6, seconds={"ml": 60.0, "dpo": 950.0, "ppo": 900.0}))
    assert said.startswith("Use `ppo`: it has the best la-ROUGE-L of 26.7, and although its lead over `dpo` may be")
    assert said.endswith("it is the cheapest of these at 15 min 00 s of training.")


def test_fewer_failures_are_a_lead() -> None:
    record = make_record({"a": 0.3, "b": 0.1}, seconds={"a": 1.0, "b": 2.0}, half=0.05)
    turned = [c.model_copy(update={"metric": "failures/any", "higher_is_better": False}) for c in record.comparisons]
    assert [(c.a, c.b) for c in turned] == [("b", "a")]
    update = {"headline_metric": "failures/any", "comparisons": turned, "ranking": record.ranking[::-1]}
    assert advice(record.model_copy(update=update)).startswith("Use `b`: its failures: any failure of 0.200 is −0.200")


def test_little_to_compare_is_said() -> None:
    one = make_record({"ml": 20.0})
    assert advice(one) == "Only `ml` finished, so there is nothing to compare it with."
    assert advice(one.model_copy(update={"ranking": []})) == "No method finished, so there is nothing to advise."


def test_the_tables_have_every_method() -> None:
    record = make_record()
    summary = summary_table(record)
    assert summary[0] == [
        "method", "la-ROUGE-L", "ROUGE-L", "outputs that fail a rule", "P(best)", "P(above next)", "time", "tokens",
        "memory",
    ]  # fmt: skip
    assert [row[0] for row in summary[1:]] == ["ppo", "dpo", "ml", "broken (failed)"]
    assert summary[1][1:] == [
        "26.7 (25.4 to 28.0)", "28.7 (27.3 to 30.1)", "20 % (17 % to 23 %)", "50 %", "90 %", "15 min 00 s", "290,000",
        "2.7 GiB",
    ]  # fmt: skip
    assert summary[3][5] == "–" and set(summary[4][1:]) == {"–"}
    assert rank_table(record)[2] == ["dpo", "2", "25.2 (23.9 to 26.5)", "50 %", "90 %"]
    assert seed_table(record)[1] == ["ppo", "26.5", "26.9"]
    assert cost_table(record)[3] == [
        "ppo", "2 min 40 s", "200,400", "1,200", "15 min 00 s", "290,000", "2,000", "2.7 GiB"
    ]  # fmt: skip
    assert making_table(record)[2] == ["dpo", "sft → negatives → dpo", "dpo", "200,000 tokens", "done"]
    assert making_table(record)[1][3] == "its own length"


def test_a_share_of_draws_is_never_all_or_none() -> None:
    assert [share(p) for p in (None, 0.0, 0.25, 0.996, 1.0)] == ["–", "< 1 %", "25 %", "> 99 %", "> 99 %"]


def test_the_page_is_whole_and_nothing_on_it_acts() -> None:
    record = make_record()
    html = render(record.model_copy(update={"advice": advice(record), "dataset": EVIL}))
    page = Page(html)
    assert page.count("script") == page.count("img") == 0
    assert page.text.count(EVIL) == 2, "the data and the sentence of the method that failed"
    assert "Use ppo: its la-ROUGE-L of 26.7" in page.text and "<code>ppo</code>" in html
    assert "Each method's stage may spend 200,000 tokens; seeds 0 and 1." in page.text
    assert "in 81 % of the samples" in page.text
    assert page.count("svg") == 3, "the overview, and the curves against seconds and against samples"
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert render(record) == render(record)


def test_the_baseline_is_grey_and_methods_have_colours_of_their_own() -> None:
    record = make_record()
    assert [series_of(record, name) for name in ("ml", "dpo", "ppo", "broken")] == [0, 1, 2, 3]


def test_a_page_of_nothing_but_failures() -> None:
    record = make_record()
    failed = {n: m.model_copy(update={"curves": {}, "curve_metric": None}) for n, m in record.methods.items()}
    nothing = {"arms": {}, "comparisons": [], "ranking": [], "p_order": None, "methods": failed}
    text = Page(render(record.model_copy(update=nothing))).text
    assert "No method finished." in text and "No method has been validated while it trained." in text


def test_the_record_comes_back_from_its_file(tmp_path: Path) -> None:
    record = make_record()
    record.write(tmp_path / "comparison.json")
    assert Compared.read(tmp_path / "comparison.json") == record
    (tmp_path / "comparison.json").write_text('{"schema_version": 9}')
    with pytest.raises(InputError, match=r"comparison\.json has schema version 9"):
        Compared.read(tmp_path / "comparison.json")


@pytest.mark.slow
def test_a_browser_shows_it_within_its_width(tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("there is no chromium on the PATH")
    record = make_record()
    write_page(record.model_copy(update={"advice": advice(record)}), tmp_path / "page.html")
    shot = tmp_path / "shot.png"
    command = [chromium, *OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=500,4200"]
    command += [f"--screenshot={shot}", (tmp_path / "page.html").as_uri()]
    subprocess.run(command, capture_output=True, timeout=60, check=True, env=dict(os.environ))
    pixels = imread(shot)[..., :3]
    edge = pixels[:, -8:]
    assert pixels.std() > 0.02 and (edge == edge[0, 0]).all(), "something reaches over the right edge"

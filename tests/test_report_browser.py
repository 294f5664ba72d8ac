"""The report in a real browser: Chromium without a window, without selenium, without a network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from matplotlib.image import imread
from report_fixture import EVIL, write_run
from test_report import Page

from homestretch.report.page import write_report

pytestmark = pytest.mark.slow

OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars",
           "--no-first-run", "--disable-dev-shm-usage")  # fmt: skip


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        if os.environ.get("CI") == "true" and os.environ.get("HOMESTRETCH_REQUIRE_BROWSER") == "1":
            pytest.fail("HOMESTRETCH_REQUIRE_BROWSER=1, and there is no chromium on the PATH")
        # pip cannot install a browser.
        pytest.skip("there is no chromium on the PATH; install it to look at the page as a browser does")
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_run(tmp_path_factory.mktemp("browser") / "run", prompts=6)
    return write_report([run.path], run.report)


def _without_script(profile: Path) -> Path:
    settings = {"profile": {"default_content_setting_values": {"javascript": 2}}}
    (profile / "Default").mkdir(parents=True)
    (profile / "Default" / "Preferences").write_text(json.dumps(settings))
    return profile


def _browse(chromium: str, page: Path, profile: Path, *options: str) -> str:
    command = [chromium, *OPTIONS, f"--user-data-dir={profile}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_nothing_a_model_wrote_acts(chromium: str, page: Path, tmp_path: Path) -> None:
    told = page.read_text("utf-8").replace("alert(", "document.title='owned'+(")
    (tmp_path / "page.html").write_text(told, "utf-8")
    dom = Page(_browse(chromium, tmp_path / "page.html", tmp_path / "profile", "--dump-dom"))
    assert EVIL.replace("alert(", "document.title='owned'+(") in dom.text
    assert dom.count("script") == 1 and dom.count("img") == 0
    assert dom.text.strip().startswith("run · homestretch report")
    # The page's own script did run: it shows the tools, and its hash is the one the policy allows.
    assert not [a for t, a in dom.elements if t == "form" and "hidden" in a]


def test_the_policy_stops_a_script_that_got_in(chromium: str, page: Path, tmp_path: Path) -> None:
    broken = page.read_text("utf-8").replace("</header>", "<script>document.title='owned'</script></header>", 1)
    (tmp_path / "page.html").write_text(broken, "utf-8")
    dom = Page(_browse(chromium, tmp_path / "page.html", tmp_path / "profile", "--dump-dom"))
    assert dom.count("script") == 2 and dom.text.strip().startswith("run · homestretch report")


def test_the_page_looks_the_same_without_script(chromium: str, page: Path, tmp_path: Path) -> None:
    off = _without_script(tmp_path / "off")
    shots = []
    for profile in (tmp_path / "on", off):
        shot = tmp_path / f"{profile.name}.png"
        _browse(chromium, page, profile, "--window-size=1280,2000", f"--screenshot={shot}")
        shots.append(imread(shot))
    assert shots[0].shape == shots[1].shape
    assert shots[0].std() > 0.02
    assert (shots[0] == shots[1]).all()
    # Script was off indeed: the tools that it would have shown are still hidden.
    dom = Page(_browse(chromium, page, off, "--dump-dom"))
    assert [t for t, a in dom.elements if "hidden" in a] == ["form"]


@pytest.mark.parametrize(("theme", "dark"), [("1", False), ("0", True)])
def test_the_page_follows_the_readers_theme_and_fits_a_telephone(
    chromium: str, page: Path, tmp_path: Path, theme: str, dark: bool
) -> None:
    shot = tmp_path / "shot.png"
    theme_option = f"--blink-settings=preferredColorScheme={theme}"
    _browse(chromium, page, tmp_path / "profile", "--window-size=500,3600", f"--screenshot={shot}", theme_option)
    pixels = imread(shot)[..., :3]
    assert (pixels.mean() < 0.3) == dark and (pixels.mean() > 0.8) == (not dark)
    edge = pixels[:, -8:]
    assert (edge == edge[0, 0]).all(), "something reaches over the right edge"

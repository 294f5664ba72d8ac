"""Fixtures that every test file may use."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Models of tests are so small that threads cost more than they give; read by torch when it is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How fast an example is says how busy the machine is, and nothing about the code.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

ROOT = Path(__file__).resolve().parent.parent
DATA = "the shared data sets"
BESIDE = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data sets; the test is skipped where they are not there."""
    folder = Path(os.environ.get("HOMESTRETCH_DATA", BESIDE))
    # Their licences keep them out of the repository.
    if not folder.is_dir():
        pytest.skip(f"{DATA} are not at {folder}; set HOMESTRETCH_DATA")
    return folder


@pytest.fixture(scope="session", autouse=True)
def own_reward_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither read nor fill the user's cache of rewards; converted models stay where they are."""
    from homestretch.rewards import cache

    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("rewards")
        patch.setattr(cache, "cache_dir", lambda: folder)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In continuous integration, a test of data that is there must not be skipped: that would pass unseen."""
    report = yield
    if report.skipped and DATA in str(report.longrepr) and os.environ.get("CI") and BESIDE.is_dir():
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped, but {BESIDE} is there: {report.longrepr[2]}"
    return report

"""A message about an override names its key, and never repeats what may be a secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_features import pairs

from homestretch.cli.main import run_command
from homestretch.config.recipe import load_recipe
from homestretch.errors import RecipeError

JUDGE = "feature: relevance, model: m"
LEAKS = {
    "features.x={judge: {%s, api_key_env: sk-SECRET}}": "`api_key_env` is the name of an environment variable",
    "features.x={judge: {%s, api_key_env: AKIA1234SECRET}}": "`api_key_env` is the name of an environment variable",
    "features.x={judge: {%s, api_key: sk-SECRET}}": "unknown key `features.x.judge.api_key`",
    "features.x={judge: {%s, api_key: sk-SECRET, api_key_env: sk-SECRET}}": "is the name of an environment variable",
    "features.x={judge: {%s, base_url: 'http://SECRET@host', api_key_env: a}}": "the name of an environment variable",
    "features.x={judge: {%s, base_url: 'http://SECRET@host', key: sk-SECRET}}": "`base_url` must look like https://",
    "features.x={judge: {%s}, api_key: sk-SECRET}": "unknown key `features.x.api_key`",
    "features.x={judge: {%s, api_key_env: [sk-SECRET}": "the value is not valid YAML",
    "features.x.judge.api_key_env: sk-SECRET %s": "this is not `key=value`",
    "features.x.judge.api_key: sk-SECRET==%s": "this is not `key=value`",
    "api_key=sk-SECRET %s": "unknown key `api_key`",
}


@pytest.mark.parametrize("override", LEAKS)
def test_a_key_in_an_override_is_not_repeated(
    tmp_path: Path, override: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    fit = ["reward", "fit", str(pairs(tmp_path)), "--kind", "features", "--out", str(out), override % JUDGE]
    assert run_command(fit) == 2
    said = capsys.readouterr()
    assert "SECRET" not in said.out + said.err and not out.exists()
    assert LEAKS[override] in said.err and f"override `{override.split('=')[0].split(':')[0]}`: " in said.err


def test_nor_is_what_stands_at_its_place() -> None:
    stages = ["sft", {"evaluate": {"rewards": {"x": {"judge": {"feature": "relevance", "api_key": "sk-SECRET"}}}}}]
    with pytest.raises(
        RecipeError, match=r"^override `evaluate.*`: `y` cannot be set inside a value without keys; "
    ) as error:
        load_recipe({"stages": stages}, ["evaluate.rewards.x.judge.api_key.y=1"])
    assert "SECRET" not in str(error.value)

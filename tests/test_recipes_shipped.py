"""Every recipe that ships: it parses, says what it is, and gives a reason for everything that is not a default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from homestretch.config.base import Config
from homestretch.config.recipe import DatasetConfig, Recipe, dump, load_recipe
from homestretch.config.shipped import find_recipe, find_shipped, launchers, phrase, recipes_folder, shipped, when
from homestretch.config.stages import STAGES, stage_kind
from homestretch.config.yaml import load_file
from homestretch.errors import RecipeError

OFFLINE = [
    f"{method}/{task}"
    for method in ("alol", "distill", "dpo", "gold", "ift", "modpo", "wbc")
    for task in ("docstrings", "scitldr", "webnlg")
]
NAMES = ["last_mile/quickstart", "last_mile/quickstart_fast", "last_mile/scitldr", "last_mile/text", "last_mile/webnlg"]
ONLINE = [f"{method}/{task}" for method in ("grpo", "rloo") for task in ("docstrings", "scitldr", "webnlg")]
FRONTS = [f"{method}/brevity" for method in ("best_of", "dpo", "modpo", "ppo")]
FRONTS += [f"{method}/faithful" for method in ("best_of", "ppo")]
NAMES = sorted([*NAMES, *OFFLINE, *ONLINE, *FRONTS, "alol/hh_helpful", "alol/hh_helpful_rejected"])
FILES = sorted(recipes_folder().rglob("*.y*ml"))
LAST_MILE = ["sft", "negatives", "reward", "ppo", "evaluate", "report"]
NO_REASON_NEEDED = {("model_name_or_path",), ("dataset", "name")}  # what the recipe is about


def test_how_many_there_are() -> None:
    assert list(shipped()) == NAMES
    assert sorted(shipped().values()) == FILES
    assert len(FILES) == 40
    methods = {path.parent.name for path in FILES}
    assert methods - {"last_mile"} <= set(STAGES)


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_shipped_recipe_parses(path: Path) -> None:
    recipe = load_recipe(path)
    kinds = [stage.kind for stage in recipe.stages]
    if path.parent.name == "last_mile":
        assert kinds == LAST_MILE
    else:
        assert kinds.count(path.parent.name) == 1
        assert kinds[-2:] == LAST_MILE[-2:]
    assert load_recipe({**load_file(path).values}) == recipe
    assert dump(recipe).startswith("model_name_or_path: ")


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_shipped_recipe_says_what_it_is(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first == f"# {phrase(path)}"
    assert 20 < len(phrase(path)) < 110


def test_a_method_says_when_to_take_it_the_same_in_all_its_recipes(tmp_path: Path) -> None:
    said = {path: when(path) for path in [*FILES, *launchers().values()]}
    assert all(40 < len(text) < 110 for text in said.values())
    by_method = {(path.parent.name, text) for path, text in said.items()}
    assert len(by_method) == len({text for _, text in by_method}) == 13
    (mine := tmp_path / "mine.yaml").write_text("# Mine.\nstages: [sft]\n", encoding="utf-8")
    assert (phrase(mine), when(mine)) == ("Mine.", "")


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_settings_are_no_defaults_and_have_a_reason(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    document = load_file(path)
    for where, value, config in settings(document.values):
        line = lines[int(document.where(where).rpartition(":")[2]) - 1]
        field = config.model_fields[str(where[-1])]
        if where not in NO_REASON_NEEDED:
            assert value != field.get_default(call_default_factory=True), f"{path}: `{where[-1]}` is the default"
            assert len(line.partition(" # ")[2]) > 5, f"{path}: `{where[-1]}` = {value!r} has no reason beside it"


def settings(values: dict[str, Any]) -> list[tuple[tuple[str | int, ...], Any, type[Config]]]:
    """Key path, value and settings class of every setting of a recipe."""
    top: list[tuple[tuple[str | int, ...], Any, type[Config]]]
    top = [((key,), value, Recipe) for key, value in values.items() if key not in ("dataset", "stages")]
    top += [(("dataset", key), value, DatasetConfig) for key, value in values.get("dataset", {}).items()]
    for i, item in enumerate(values["stages"]):
        [(name, given)] = item.items() if isinstance(item, dict) else [(item, {})]
        top += [(("stages", i, name, key), value, STAGES[stage_kind(name)]) for key, value in (given or {}).items()]
    return top


def test_configurations_of_several_processes_are_understood_by_accelerate() -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    assert list(launchers()) == ["launch/cpus", "launch/fsdp", "launch/gpus", "launch/machines"]
    for name, path in launchers().items():
        assert find_shipped(name) == path and path not in FILES
        config = load_config_from_file(str(path))
        assert config.num_processes > config.num_machines and config.mixed_precision == "no"
        assert str(config.distributed_type.value) == ("FSDP" if name == "launch/fsdp" else "MULTI_GPU")
        assert 20 < len(phrase(path)) < 120
    assert find_shipped("text") == find_recipe("text")


def test_recipes_are_found_by_name_and_by_path(tmp_path: Path) -> None:
    mine = tmp_path / "text"
    mine.write_text("stages: [sft]\n", encoding="utf-8")
    assert find_recipe("text") == find_recipe("last_mile/text") == shipped()["last_mile/text"]
    assert find_recipe(mine) == mine
    with pytest.raises(RecipeError, match=r"did you mean `quickstart`\?"):
        find_recipe("quickstrat")
    with pytest.raises(RecipeError, match=r"several recipes; write alol/webnlg or .* or wbc/webnlg\.$"):
        find_recipe("webnlg")
    with pytest.raises(RecipeError, match=r"known are .*`quickstart`, `quickstart_fast`"):
        find_recipe("zzz")

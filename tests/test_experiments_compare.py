"""The comparison of every method: one start for all, one budget, and tables that turn differences the right way."""

from __future__ import annotations

from types import ModuleType

import pytest
from comparison_fixture import make_record
from scripts import loaded

from homestretch.config.methods import load_methods
from homestretch.config.recipe import load_recipe
from homestretch.results import Comparison


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return loaded("compare_run", "compare/run.py")


@pytest.fixture(scope="module")
def table() -> ModuleType:
    return loaded("compare_table", "compare/table.py")


@pytest.mark.parametrize("name", ["", "small", "quick"])
def test_all_methods_but_ift_go_on_from_one_start_with_one_budget(script: ModuleType, name: str) -> None:
    budget = script.BUDGETS[name]
    names = [*script.SHIPPED, "sft_on", *script.ALOL]
    made, _ = load_methods(script.recipes(names, budget), script.overrides(name, budget), {"tokens": budget["tokens"]})
    start, *methods = made
    assert start.baseline and [m.name for m in methods] == names
    shared: dict[str, set[str]] = {}
    for method in methods:
        stages = {stage.name: stage.config for stage in method.recipe.stages}
        assert stages[method.limited].train_until == {"tokens": budget["tokens"]}
        assert stages[method.limited].eval_examples == budget["looks"]
        for common in set(script.COMMON) & set(stages):
            shared.setdefault(common, set()).add(stages[common].model_dump_json())
        assert ("sft" in stages) == (method.name != "ift")
    assert {common: len(kinds) for common, kinds in shared.items()} == dict.fromkeys(script.COMMON, 1)


def test_what_is_not_read_is_not_trained(script: ModuleType) -> None:
    stages = {
        name: [stage.name for stage in load_recipe(values).stages]
        for name, values in script.recipes([*script.SHIPPED, "sft_on", "r_lol"], script.BUDGETS[""]).items()
    }
    assert stages["ift"] == ["ift"] and stages["sft_on"] == ["sft", "sft-2"]
    assert stages["dpo"] == ["sft", "negatives", "dpo"]
    assert stages["alol"] == [*script.COMMON, "value", "alol"] and stages["r_lol"] == [*script.COMMON, "alol"]
    assert stages["ppo"] == [*script.COMMON, "ppo"]


def test_tables_say_the_differences_to_the_start_whichever_way_they_were_taken(table: ModuleType) -> None:
    record = make_record({"ml": 24.0, "dpo": 25.0, "ppo": 23.0})
    fails = [Comparison(a=a, b=b, metric="failures/any", difference=d, low=d - 0.01, high=d + 0.02, p_value=0.2, n=300)
             for a, b, d in (("dpo", "ml", -0.1), ("ml", "ppo", 0.05))]  # fmt: skip
    line = record.model_dump(mode="json") | {"judged": {}}
    line["comparisons"] = [c for c in line["comparisons"] if (c["a"], c["b"]) == ("dpo", "ml")]
    line["comparisons"] += [
        {"a": "ml", "b": "ppo", "metric": "la_rougeL", "difference": 1.0, "low": 0.4, "high": 1.7, "p_value": 0.01},
        *(c.model_dump(mode="json") for c in fails),
    ]
    rows = {row.split("|")[1].strip(): row for row in table.against(line, "ml").splitlines()}
    assert "+1.0 [+0.4, +1.6]" in rows["dpo"] and "-10 [-11, -8]" in rows["dpo"]
    assert "-1.0 [-1.7, -0.4]" in rows["ppo"] and "-5 [-7, -4]" in rows["ppo"]
    assert "ml" not in rows, "the start has no difference to itself"
    assert "-1.0, -1.0" in rows["ppo"], "each seed"


def test_costs_are_those_of_methods_that_finished(table: ModuleType) -> None:
    line = make_record().model_dump(mode="json")
    found = table.costs(line)
    assert "broken" not in found and found.count("\n") >= 4
    assert "160" in found and "900" in found and "2.9" in found

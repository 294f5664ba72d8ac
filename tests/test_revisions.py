"""A model on the Hub in a revision of its own: the run reads that one everywhere, and says so beside a reward model.

The Hub is a cache of its own here, with a model in two revisions.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import tiny
import torch
from test_policies import batch_of

from homestretch.config.recipe import load_recipe
from homestretch.config.rewards import RewardTerm
from homestretch.config.training import TrainingConfig
from homestretch.data.sources import Splits
from homestretch.policies.load import load_trunk
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk
from homestretch.results import RunFolder
from homestretch.rewards import model as reward_models
from homestretch.rewards.cache import model_key
from homestretch.rewards.model import DESCRIPTION, load_reward, save_reward
from homestretch.rewards.named import load_rewards
from homestretch.rewards.remembered import reward_keys, scorer_key
from homestretch.training.context import Context

# peft asks the Hub about the base when it saves an adapter.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Unable to fetch remote file:UserWarning"),
    pytest.mark.filterwarnings("ignore:Could not find a config file:UserWarning"),
]

NAME = "org/name"
NEAR = 0.3
"""Logits differ by less in mixed precision, and by more on other weights."""
COMMITS = {"main": "0" * 40, "v2": "2" * 40}


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model's folder in the cache; `v2` has other weights than `main`."""
    folder = tmp_path / "hub" / "models--org--name"
    (folder / "refs").mkdir(parents=True)
    for seed, (revision, commit) in enumerate(COMMITS.items()):
        (folder / "refs" / revision).write_text(commit)
        place = folder / "snapshots" / commit
        torch.manual_seed(seed)
        lm = tiny.llama()
        with torch.no_grad():
            for parameter in lm.parameters():
                parameter.normal_(std=0.3)
        lm.save_pretrained(place)
        tiny.tokenizer().save_pretrained(place)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return folder


def context_of(folder: Path, reward: Path | None = None, **shared: Any) -> Context:
    values = {"model_name_or_path": NAME, "stages": ["sft"], **shared}
    if reward is not None:
        values["reward_model_name_or_path"] = str(reward)
    splits = Splits([], [], [], "No rows.")
    return Context(load_recipe(values), RunFolder(folder / "run"), splits, NAME, torch.device("cpu"))


def trained(context: Context, folder: Path) -> tuple[Trunk, Path]:
    """A reward adapter on the recipe's model, and the folder it was saved to as the stage `reward` does."""
    trunk = context.load_trunk()
    trunk.add_adapter("reward", TrainingConfig(lora_r=4))
    trunk.add_head("reward", zero=False)
    torch.manual_seed(2)
    torch.nn.init.normal_(trunk.heads["reward"].linear.weight)
    revision = context.recipe.load_options(context.model)["revision"]
    save_reward(trunk, context.tokenizer, folder, base=context.model, revision=revision, kind="classifier")
    return trunk, folder


def logits(policy: Policy) -> torch.Tensor:
    with torch.no_grad():
        return policy.score(batch_of(), want={"reward"}).reward_B


def test_a_reward_adapter_finds_the_revision_that_it_was_trained_on(tmp_path: Path) -> None:
    trunk, folder = trained(context_of(tmp_path, model_revision="v2"), tmp_path / "reward")
    expected = logits(Policy(trunk, "reward", budget=1000))
    assert torch.equal(load_reward(folder, bf16=False).score_ids(batch_of()), expected)
    [named] = load_rewards({"strong": RewardTerm(reward_model=str(folder))})
    torch.testing.assert_close(logits(named.reward.policy), expected, atol=NEAR, rtol=0)
    description = json.loads((folder / DESCRIPTION).read_text())
    assert (description["base"], description["revision"]) == (NAME, "v2")
    (folder / DESCRIPTION).write_text(json.dumps(description | {"revision": "main"}))
    assert (load_reward(folder, bf16=False).score_ids(batch_of()) - expected).abs().max() > 3 * NEAR


def test_a_run_puts_the_adapter_on_weights_of_its_revision_alone(tmp_path: Path) -> None:
    trunk, folder = trained(context_of(tmp_path, model_revision="v2"), tmp_path / "reward")
    expected = logits(Policy(trunk, "reward", budget=1000))
    for revision in COMMITS:
        context = context_of(tmp_path, folder, model_revision=revision)
        start = context.load_trunk()
        reward = context.reward_model(start)
        assert (reward.policy.trunk is start) == (revision == "v2")
        torch.testing.assert_close(logits(reward.policy), expected, atol=NEAR, rtol=0)


def test_a_folder_that_does_not_say_it_is_taken_to_be_of_the_recipes_revision(tmp_path: Path) -> None:
    trunk, folder = trained(context_of(tmp_path, model_revision="v2"), tmp_path / "reward")
    description = json.loads((folder / DESCRIPTION).read_text())
    del description["revision"]
    (folder / DESCRIPTION).write_text(json.dumps(description))
    context = context_of(tmp_path, folder, model_revision="v2")
    expected = logits(Policy(trunk, "reward", budget=1000))
    torch.testing.assert_close(logits(context.reward_model().policy), expected, atol=NEAR, rtol=0)
    start = context.load_trunk()
    assert context.reward_model(start).policy.trunk is start


def test_code_that_comes_with_the_base_may_run_where_the_recipe_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folder = trained(context_of(tmp_path), tmp_path / "reward")
    seen: list[bool] = []

    def load(name: str, *, trust_remote_code: bool, **options: Any) -> Trunk:
        seen.append(trust_remote_code)
        return load_trunk(name, **options)

    monkeypatch.setattr(reward_models, "load_trunk", load)
    for allowed in (True, False):
        context_of(tmp_path, folder, trust_remote_code=allowed).reward_model()
    assert seen == [True, False]


def test_what_is_kept_has_the_name_of_the_commit(tmp_path: Path) -> None:
    _, folder = trained(context_of(tmp_path, model_revision="v2"), tmp_path / "reward")
    second = context_of(tmp_path, model_revision="v2")
    assert second.model_key(NAME) == model_key(NAME, revision="v2") != model_key(NAME)
    assert reward_keys(folder)[1] == model_key(NAME, revision="v2")
    term = RewardTerm(reward_model=str(folder))
    key, description = scorer_key(term, "cpu"), json.loads((folder / DESCRIPTION).read_text())
    (folder / DESCRIPTION).write_text(json.dumps(description | {"revision": "main"}))
    assert scorer_key(term, "cpu") != key


def test_the_name_of_a_model_runs_none_of_its_code(hub: Path) -> None:
    config = hub / "snapshots" / COMMITS["v2"] / "config.json"
    custom = {"model_type": "of_its_own", "auto_map": {"AutoConfig": "theirs.Config"}}
    config.write_text(json.dumps(json.loads(config.read_text()) | custom))
    assert model_key(NAME, revision="v2") != model_key(NAME, revision="main")


def test_a_base_in_a_folder_has_no_revision(tmp_path: Path) -> None:
    base = tiny.save(tmp_path / "base", "llama")
    context = context_of(tmp_path, model_name_or_path=base)
    context.model = base
    _, folder = trained(context, tmp_path / "reward")
    assert "revision" not in json.loads((folder / DESCRIPTION).read_text())
    found = context_of(tmp_path, folder, model_name_or_path=base)
    found.model = str(Path(base).resolve())
    start = found.load_trunk()
    assert found.reward_model(start).policy.trunk is start

"""`homestretch generate`: every setting reaches the engine, and one that would have no effect is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
from test_cli import refused
from typer.testing import CliRunner

from homestretch.cli.main import app
from homestretch.config.decoding import DecodingConfig
from homestretch.errors import RecipeError
from homestretch.generation.beam import BeamConfig, beam_search
from homestretch.generation.engine import generate as sample
from homestretch.generation.sampling import SamplingConfig
from homestretch.policies.load import end_ids, load_tokenizer, load_trunk
from homestretch.policies.policy import Policy
from homestretch.policies.precision import autocast
from homestretch.verbs import generate as verb

PROMPTS = ["say the red and big now:", "say:", "a cat and a dog"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.save(tmp_path_factory.mktemp("model"), "llama", std=0.3)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": p}) + "\n" for p in PROMPTS), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"num_beams": 4, "temperature": 0.7}, "beam search draws nothing: leave out `temperature`, or `num_beams`"),
        ({"num_beams": 4, "top_p": 0.7}, "beam search draws nothing: leave out `top_p`, or `num_beams`"),
        ({"num_beams": 2, "stop": ["x"]}, "beam search does not know stop strings: leave out `stop`, or `num_beams`"),
        ({"num_beams": 2, "num_samples": 3}, "2 beams give no 3 texts: raise `num_beams`"),
        ({"length_penalty": 0.5}, "`length_penalty` is of beam search: give `num_beams` above 1"),
        ({"early_stopping": "never"}, "`early_stopping` is of beam search: give `num_beams` above 1"),
        ({"top_k": 5}, "`top_k` has no effect at temperature 0: give a `temperature`"),
        ({"min_p": 0.1}, "`min_p` has no effect at temperature 0: give a `temperature`"),
        ({"num_samples": 2}, "at temperature 0 all samples are the same: give a `temperature`, or `num_beams`"),
        ({"stop": ["a", ""]}, "`stop.1` = '' cannot be used: string should have at least 1 character"),
        ({"early_stopping": "later"}, "`early_stopping` = 'later' cannot be used"),
        ({"repetition_penalty": 0.0}, "`repetition_penalty` = 0.0 cannot be used: input should be greater than 0"),
        ({"temprature": 1.0}, "unknown key `temprature`; did you mean `temperature`?"),
    ],
)
def test_what_would_have_no_effect_is_refused_in_one_sentence(settings, says):
    with pytest.raises(RecipeError) as error:
        verb.generate("no model is looked for", "nor data", **settings)
    assert str(error.value).startswith(f"generate: {says}")
    assert str(error.value).count("\n") == 0


def test_what_has_an_effect_is_not():
    for settings in (
        {"temperature": 1.0, "top_k": 5, "top_p": 0.9, "min_p": 0.1, "num_samples": 3, "stop": ["."]},
        {"num_beams": 4, "length_penalty": 2.0, "early_stopping": "never", "num_samples": 4},
        {"repetition_penalty": 1.2, "stop": ["\n\n"]},
        {"num_beams": 2, "repetition_penalty": 1.2, "early_stopping": True},
    ):
        DecodingConfig.parse(settings, where="")


def test_every_setting_has_a_reader():
    read = {*SamplingConfig.model_fields, *BeamConfig.model_fields, "stop", "num_samples"}
    read |= {"goal_model", "give_up_below", "give_up_goal", "patience", "steer"}
    assert set(DecodingConfig.model_fields) == read
    for part in (SamplingConfig, BeamConfig):
        for name in set(part.model_fields) - {"temperature", "num_beams", "max_new_tokens"}:
            assert part.model_fields[name].default == DecodingConfig.model_fields[name].default


@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": 1.5},
        {"temperature": 0.7, "num_samples": 2},
        {"temperature": 0.7, "top_k": 3},
        {"temperature": 1.5, "top_p": 0.5},
        {"temperature": 1.5, "min_p": 0.3},
        {"num_beams": 3},
        {"num_beams": 3, "num_samples": 2, "length_penalty": -1.0, "early_stopping": True, "repetition_penalty": 1.3},
    ],
    ids=str,
)
def test_settings_reach_the_engine(model: str, data: Path, settings: dict[str, Any]) -> None:
    rows = verb.generate(model, data, max_new_tokens=9, seed=3, **settings)
    trunk, tokenizer = load_trunk(model), load_tokenizer(model)
    options = {"eos_ids": end_ids(trunk.lm, tokenizer), "num_samples": settings.get("num_samples", 1)}
    settings = {name: value for name, value in settings.items() if name != "num_samples"}
    prompts = [tokenizer(p).input_ids for p in PROMPTS]
    policy = Policy(trunk, None, budget=1000, autocast=autocast(trunk.device))
    if "num_beams" in settings:
        made = beam_search(policy, prompts, beam=BeamConfig(max_new_tokens=9, **settings), **options)
    else:
        sampling = SamplingConfig(max_new_tokens=9, **{"temperature": 0.0, **settings})
        made = sample(policy, prompts, sampling=sampling, seed=3, **options)
    texts = [tokenizer.decode(s.ids, skip_special_tokens=True).strip() for group in made for s in group]
    assert [row["text"] for row in rows] == texts
    assert rows != verb.generate(model, data, max_new_tokens=9, seed=3), "or the setting shows nothing"


def test_a_text_is_cut_before_its_stop_string(model: str, data: Path) -> None:
    free = verb.generate(model, data, max_new_tokens=12)
    string = free[0]["text"][5:7]
    rows = verb.generate(model, data, max_new_tokens=12, stop=["never there", string])
    for row, other in zip(rows, free, strict=True):
        text, found, _ = other["text"].partition(string)
        assert row["text"] == text.strip()
        assert row["terminated"] == (bool(found) or other["terminated"])
        assert row["tokens"] <= other["tokens"]
    assert rows[0]["tokens"] < 12 and string not in rows[0]["text"]


def test_the_command_passes_every_option_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    called: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    monkeypatch.setattr(verb, "generate", lambda *args, **options: called.append((args, options)) or [])
    given = {
        "split": "train", "max_examples": 3, "prompt_suffix": " now:", "max_prompt_length": 64,
        "temperature": 0.5, "top_p": 0.9, "top_k": 7, "min_p": 0.1,
        "repetition_penalty": 1.2, "num_beams": 2, "length_penalty": 0.3, "max_new_tokens": 8, "num_samples": 4,
        "max_rows": 5, "max_cache_tokens": 600, "arm": "mine", "seed": 9, "device": "cpu",
        "goal_model": "goal", "give_up_below": 0.1, "give_up_goal": "brief", "patience": 2,
    }  # fmt: skip
    arguments = [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    command = ["generate", "model", "data", "--out", str(tmp_path / "out.jsonl"), *arguments]
    for early, value in (("no", False), ("yes", True), ("never", "never")):
        done = CliRunner().invoke(
            app, [*command, "--early-stopping", early, "--stop", "a", "--stop", "\n\n", "--steer", "a=2"]
        )
        assert done.exit_code == 0, done.output
        args, options = called.pop()
        assert args == ("model", "data", tmp_path / "out.jsonl")
        assert options == {**given, "early_stopping": value, "stop": ["a", "\n\n"], "steer": {"a": 2.0}}
    assert set(DecodingConfig.model_fields) <= set(options)
    assert CliRunner().invoke(app, ["generate", "model", "data", "--out", "o"]).exit_code == 0
    defaults = {name: called[0][1][name] for name in DecodingConfig.model_fields}
    assert defaults == DecodingConfig().model_dump()


def test_the_command_refuses_in_one_sentence(tmp_path: Path) -> None:
    out = ["--out", "out.jsonl"]
    assert "beam search draws nothing" in refused(
        "generate", "m", "d", *out, "--num-beams", "3", "--top-k", "2", cwd=tmp_path
    )


def test_prompts_that_are_cut_are_counted(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def texts(name: str, prompts: list[str], longest: int) -> list[str]:
        file = tmp_path / name
        file.write_text("".join(json.dumps({"prompt": p}) + "\n" for p in prompts), encoding="utf-8")
        return [row["text"] for row in verb.generate(model, file, max_new_tokens=6, max_prompt_length=longest)]

    tokenizer = load_tokenizer(model)
    ids = [tokenizer(p).input_ids for p in PROMPTS]
    longest = min(len(i) for i in ids) + 1
    middle_gone = [i if len(i) <= longest else i[: longest // 2] + i[len(i) - (longest + 1) // 2 :] for i in ids]
    cut = texts("long.jsonl", PROMPTS, longest)
    assert f"2 of 3 prompts are longer than {longest} tokens and lose their middle;" in capsys.readouterr().err
    short = [tokenizer.decode(i, skip_special_tokens=True) for i in middle_gone]
    assert [tokenizer(p).input_ids for p in short] == middle_gone, "or the other file says something else"
    assert texts("short.jsonl", short, longest) == cut != texts("whole.jsonl", PROMPTS, 512)
    assert "lose their middle" not in capsys.readouterr().err


def test_a_suffix_stands_behind_every_prompt(model, data, tmp_path):
    behind = tmp_path / "behind.jsonl"
    behind.write_text("".join(json.dumps({"prompt": p + " now:"}) + "\n" for p in PROMPTS), encoding="utf-8")
    suffixed = verb.generate(model, data, prompt_suffix=" now:", max_new_tokens=6)
    written = verb.generate(model, behind, max_new_tokens=6)
    plain = verb.generate(model, data, max_new_tokens=6)
    assert [row["text"] for row in suffixed] == [row["text"] for row in written]
    assert [row["text"] for row in suffixed] != [row["text"] for row in plain]
    assert [row["source"] for row in suffixed] == PROMPTS, "what the answer is about stays"

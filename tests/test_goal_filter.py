"""Rules that give texts up: what is read of a row, who votes, what the commands print, and what they refuse."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from test_reward_model import made
from test_verbs import write
from typer.testing import CliRunner

from homestretch.cli.main import app
from homestretch.cli.reward import _floored
from homestretch.config.decoding import DecodingConfig
from homestretch.errors import DataError, RecipeError
from homestretch.generation.watch import EVERY
from homestretch.metrics.voting import PATIENCES, Filter
from homestretch.rewards.goal import load_goals, save_goals
from homestretch.seeds import fold
from homestretch.verbs.generate import generate
from homestretch.verbs.goal import find_filter, goal_readers, make_goal, token_values
from homestretch.verbs.reward import score_rows

Row = dict[str, Any]


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model with goals in opposite directions."""
    _, folder = made(tmp_path_factory.mktemp("scorer"), "llama", lora=True)
    goal_D = torch.randn(32, generator=torch.Generator().manual_seed(3))
    save_goals(folder, {"success": goal_D, "far": -goal_D})
    return folder


def text(seed: int, length: int = 40) -> str:
    letters = torch.randint(26, (length,), generator=torch.Generator().manual_seed(seed)).tolist()
    return "".join(chr(97 + i) for i in letters)


def samples(prompts: int = 6, **columns: Any) -> list[Row]:
    """Of each prompt two right texts and three wrong ones, all of them different."""
    return [
        {"prompt": f"say {chr(97 + p)}:", "completion": text(10 * p + k), "correct": k < 2, **columns}
        for p in range(prompts)
        for k in range(5)
    ]


def found(scorer: Path, folder: Path, rows: list[Row], **options: Any) -> dict[str, Any]:
    return find_filter(scorer, write(folder / "samples.jsonl", rows), **options)


def command(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_the_text_is_read_and_votes_and_no_reference_does(scorer: Path, tmp_path: Path) -> None:
    rows = samples()
    as_texts = [
        {"prompt": row["prompt"], "references": ["the same"], "text": row["completion"], "correct": row["correct"]}
        for row in rows
    ]
    # Two right texts win over three wrong ones that differ; over three times the same reference they would not.
    assert found(scorer, tmp_path, as_texts)["all"]["vote_right"] == 1
    assert found(scorer, tmp_path, as_texts) == found(scorer, tmp_path, rows)
    make_goal(scorer, write(tmp_path / "rows.jsonl", rows), name="rows")
    make_goal(scorer, write(tmp_path / "texts.jsonl", as_texts), name="texts")
    goals = load_goals(scorer)
    assert torch.equal(goals["rows"], goals["texts"])


def test_a_text_without_an_end_makes_a_goal_without_one(scorer: Path, tmp_path: Path) -> None:
    row = {"prompt": "say:", "text": text(1), "terminated": False}
    make_goal(scorer, write(tmp_path / "row.jsonl", [row]), name="open")
    (read,) = token_values(scorer, tmp_path / "row.jsonl", goal="open")
    assert len(read["q"]) == len(row["text"]) and read["q"][-1] == pytest.approx(1, abs=1e-4)
    with pytest.raises(DataError, match=r"row\.jsonl:1: a goal is made from good responses, and here is none"):
        make_goal(scorer, write(tmp_path / "row.jsonl", [row | {"text": "", "completion": "good"}]))


def test_an_answer_that_is_null_has_no_vote(scorer: Path, tmp_path: Path) -> None:
    same = [row | {"completion": row["completion"] if row["correct"] else "wrong"} for row in samples()]
    assert found(scorer, tmp_path, same)["all"]["vote_right"] == 0
    answered = [row | {"answer": 7 if row["correct"] else None} for row in same]
    assert found(scorer, tmp_path, answered)["all"]["vote_right"] == 1


def test_rows_that_were_generated_for_prompts_alone_are_read(scorer: Path, tmp_path: Path) -> None:
    prompts = write(tmp_path / "prompts.jsonl", [{"prompt": f"say {c}:"} for c in "abcd"])
    rows = generate(scorer.parent / "base", prompts, tmp_path / "made.jsonl", temperature=1.0, max_new_tokens=20)
    assert all(row["references"] == [] for row in rows)
    assert [row["text"] for row in score_rows(scorer, tmp_path / "made.jsonl")] == [row["text"] for row in rows]
    judged = [row | {"correct": True} for row in rows]
    assert found(scorer, tmp_path, judged)["all"]["vote_right"] == 1


def saved(rows: list[Row], read: list[list[float]], by: Filter, prompts: list[str]) -> tuple[int, int]:
    """Tokens that a reader saves of these prompts, and how many of them would lose all: it looks at a text at every
    EVERY tokens, and cuts it where enough of those so far lay under the threshold in a row."""
    tokens = lost = 0
    for prompt in prompts:
        cuts = []
        for q in (q for row, q in zip(rows, read, strict=True) if row["prompt"] == prompt):
            ends = [n for n in range(by.skip + by.patience, len(q) + 1) if max(q[n - by.patience : n]) < by.threshold]
            looks = [n for n in range(EVERY, len(q) + 1, EVERY) if ends and ends[0] <= n]
            cuts.append(len(q) - looks[0] if looks else None)
        lost += None not in cuts
        tokens += sum(n or 0 for n in cuts) if None in cuts else 0
    return tokens, lost


def halves(rows: list[Row]) -> tuple[list[str], list[str]]:
    """Prompts that choose and prompts that are voted on."""
    prompts = sorted({row["prompt"] for row in rows}, key=lambda prompt: fold("filter", 0, prompt))
    return prompts[: len(prompts) // 2], prompts[len(prompts) // 2 :]


def test_tokens_saved_are_those_that_are_not_written(scorer: Path, tmp_path: Path) -> None:
    rows = samples()
    result = found(scorer, tmp_path, rows, recall=0.5, patience=1)
    read = [row["q"] for row in token_values(scorer, tmp_path / "samples.jsonl")]
    tokens, lost = saved(rows, read, result["filter"], halves(rows)[1])
    assert result["kept"]["tokens_saved"] == pytest.approx(tokens / sum(map(len, read)) * 2) and tokens > 0
    assert result["kept"]["lost_all"] == lost and result["all"]["tokens_saved"] == 0


def test_patience_is_chosen_where_none_is_given(scorer: Path, tmp_path: Path) -> None:
    rows = samples()
    chosen = found(scorer, tmp_path, rows, recall=0.8)["filter"]
    given = [found(scorer, tmp_path, rows, recall=0.8, patience=p)["filter"] for p in PATIENCES]
    read = [row["q"] for row in token_values(scorer, tmp_path / "samples.jsonl")]
    tokens = {by: saved(rows, read, by, halves(rows)[0])[0] for by in given}
    assert [by.patience for by in given] == list(PATIENCES)
    assert chosen == max(tokens, key=lambda by: tokens[by]) != given[0] and tokens[given[0]] < tokens[chosen]
    run = command("reward", "filter", scorer, tmp_path / "samples.jsonl", "--recall", 0.8)
    assert run.exit_code == 0 and f" --patience {chosen.patience}\n" in run.stdout
    run = command("reward", "filter", scorer, tmp_path / "samples.jsonl", "--patience", 3)
    assert " --patience 3\n" in run.stdout


def test_prompts_that_lose_all_are_counted(scorer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "samples.jsonl", samples())
    everything = Filter(threshold=1.0)
    monkeypatch.setattr("homestretch.verbs.goal.filter_for_recall", lambda *_, **__: everything)
    run = command("reward", "filter", scorer, tmp_path / "samples.jsonl")
    assert "3 of 3 prompts lost all of their responses: here these were all kept" in run.stdout
    monkeypatch.setattr("homestretch.verbs.goal.filter_for_recall", lambda *_, **__: Filter(threshold=-1.0))
    assert "lost all" not in command("reward", "filter", scorer, tmp_path / "samples.jsonl").stdout


def test_what_is_printed_keeps_what_the_threshold_keeps_and_names_its_goal(scorer: Path, tmp_path: Path) -> None:
    for value in (0.123456789, 0.9999996, -0.1234561, -1.0, 1.0, 0.1):
        assert 0 <= value - float(_floored(value)) < 1e-6
    write(tmp_path / "samples.jsonl", samples())
    run = command("reward", "filter", scorer, tmp_path / "samples.jsonl", "--goal", "far", "--recall", 1)
    printed = re.search(r"^--give-up-below (\S+) --patience \d+ --give-up-goal far$", run.stdout, re.MULTILINE)
    assert printed is not None
    threshold = found(scorer, tmp_path, samples(), goal="far", recall=1)["filter"].threshold
    assert 0 <= threshold - float(printed[1]) < 1e-6
    assert "--give-up-goal" not in command("reward", "filter", scorer, tmp_path / "samples.jsonl").stdout


def test_texts_are_given_up_by_the_goal_that_is_named(scorer: Path) -> None:
    for goal in ("success", "far"):
        settings = {"goal_model": str(scorer), "give_up_below": 0.25, "patience": 3, "give_up_goal": goal}
        config: DecodingConfig = DecodingConfig.parse(settings, where="generate")
        watch = goal_readers(config, tiny.tokenizer(), torch.device("cpu"))["watch"]
        assert torch.equal(watch.goal_D, load_goals(scorer)[goal]) and watch.rule == Filter(0.25, 3)


def test_the_command_says_how_many_prompts_lost_all(scorer: Path, tmp_path: Path) -> None:
    prompts = write(tmp_path / "prompts.jsonl", [{"prompt": f"say {c}:"} for c in "abc"])
    options = ["--temperature", 1, "--num-samples", 2, "--max-new-tokens", 40, "--goal-model", scorer]
    options += ["--out", tmp_path / "made.jsonl", "--give-up-below"]
    run = command("generate", scorer.parent / "base", prompts, *options, 1.0)
    lost = re.search(r"^(\d) of 3 prompts lost all of their samples: .* `given_up`", run.stderr, re.MULTILINE)
    rows = generate(
        scorer.parent / "base",
        prompts,
        temperature=1.0,
        num_samples=2,
        max_new_tokens=40,
        goal_model=str(scorer),
        give_up_below=1.0,
    )
    pairs = [rows[i : i + 2] for i in (0, 2, 4)]
    assert lost is not None
    assert int(lost[1]) == sum(a["given_up"] and b["given_up"] for a, b in pairs) > 0
    run = command("generate", scorer.parent / "base", prompts, *options, -1.0)
    assert run.exit_code == 0 and "lost all" not in run.stderr
    run = command("generate", scorer.parent / "base", prompts, *options, -1.0, "--give-up-goal", "nowhere")
    assert "no goal `nowhere`" in str(run.exception)


def test_a_goal_is_steered_to_with_one_weight(scorer: Path, tmp_path: Path) -> None:
    prompts = write(tmp_path / "prompts.jsonl", [{"prompt": "say:"}])
    options = ["--out", tmp_path / "x.jsonl", "--goal-model", scorer, "--steer", "success=1", "--steer", "success=2"]
    run = command("generate", scorer.parent / "base", prompts, *options)
    assert run.exit_code == 2 and "--steer success is given twice" in run.stderr


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"give_up_goal": "brief"}, "`give_up_goal` has no effect alone: give `give_up_below`"),
        ({"temperature": 1.0, "goal_model": "x", "steer": {"a": 1.0}, "top_k": 8}, "`top_k` = 8 has no effect: lower"),
    ],
)
def test_settings_that_do_nothing_are_refused(settings: dict, sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        DecodingConfig.parse(settings, where="generate")
    fine = {"temperature": 1.0, "goal_model": "x", "steer": {"a": 1.0}, "top_k": 7}
    assert DecodingConfig.parse(fine, where="generate").top_k == 7


@pytest.mark.parametrize(
    ("rows", "options", "sentence"),
    [
        (samples(1), {}, "all rows have the same prompt; give rows of two or more"),
        ([row | {"correct": False} for row in samples()], {}, "no row is `correct: true`, so that there is nothing"),
        ([row | {"correct": i == 5} for i, row in enumerate(samples(2))], {"seed": 0}, "in the half of the prompts"),
        (samples(), {"recall": 1.5}, "recall 1.5 is no share of good responses; give one above 0"),
        (samples(), {"recall": 0.0}, "recall 0 is no share"),
        (samples(), {"patience": 0}, "patience 0 is no number of tokens in a row; give 1 or more"),
    ],
)
def test_what_chooses_no_rule_is_a_sentence(
    scorer: Path, tmp_path: Path, rows: list[Row], options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises((DataError, RecipeError), match=sentence):
        found(scorer, tmp_path, rows, **options)

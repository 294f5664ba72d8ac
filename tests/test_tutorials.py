"""The tutorials, followed from top to bottom on a small model."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import pytest
import tiny
from pages import DOCS, Walk, blocks, unexplained

pytestmark = pytest.mark.slow

OWN_DATA, REWARD = DOCS / "tutorials" / "own-data.md", DOCS / "tutorials" / "writing-a-reward.md"
OFFLINE = {"max_steps": 2, "train_batch_size": 4, "eval_examples": 2, "lora_r": 2, "bf16": "false"}
ONLINE = {**OFFLINE, "rollout_batch_size": 8, "num_generations": 4}
SMALL = {
    # A token is a character here.
    "dataset": {"max_prompt_length": 160, "max_completion_length": 48, "max_train": 60, "max_test": 6},
    "sft": OFFLINE,
    "reward": {"max_steps": 2, "train_batch_size": 4, "lora_r": 2, "bf16": "false"},
    "ppo": {**ONLINE, "value_warmup_steps": 0},
    "rloo": ONLINE,
}
SERVICE = "serve.py 8080"


def walk_in(folder: Path) -> Walk:
    return Walk(folder, {"builtin/smollm2-135m": tiny.save(folder / "model", "llama", std=0.3)}, SMALL)


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    """The first tutorial behind its last block, but for the service."""
    walk = walk_in(tmp_path_factory.mktemp("own-data"))
    walk.follow(OWN_DATA, leave_out=SERVICE)
    return walk


def test_a_csv_becomes_a_model_and_answers(walked: Walk) -> None:
    run = walked.folder / "runs" / "tickets"
    assert len((walked.folder / "tickets.csv").read_text(encoding="utf-8").splitlines()) == 241
    assert (run / "report.html").is_file() and (run / "model" / "README.md").is_file()
    answers = [json.loads(x) for x in (walked.folder / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(answers) == 2 and all(row["prompt"].endswith("come by?\nSummary:\n") for row in answers)
    results = json.loads((run / "evaluation" / "results.json").read_text(encoding="utf-8"))
    assert {"ml_raw", "rl_raw"} <= set(results["arms"])


def test_the_service_answers_as_the_pipeline_does(walked: Walk) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl here")
    (code,) = [block.code for block in blocks(OWN_DATA) if SERVICE in block.code]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    answer = walked.bash("set -m\n" + code.replace("8080", port).replace("curl ", "curl --silent --fail "))
    prompt = "The lamp in the cellar is stuck." + "\nSummary:\n"
    summarise = walked.names["summarise"]
    [expected] = summarise(prompt, return_full_text=False, max_new_tokens=32, do_sample=False)
    assert answer == expected["generated_text"] != ""


def test_the_block_for_vllm_is_there_for_its_own_test() -> None:
    assert [block.title for block in blocks(OWN_DATA) if "vllm" in block.code] == ["many.py"]


def test_a_reward_is_written_measured_and_trained_against(tmp_path: Path) -> None:
    walk = walk_in(tmp_path)
    for block in blocks(OWN_DATA):
        if "tickets.csv" in block.code and block.title.endswith(".py"):
            walk.take(block)
            walk.bash(f"python {block.title}")
    walk.follow(REWARD)
    logged = (tmp_path / "runs" / "style" / "stages" / "02-rloo" / "metrics.jsonl").read_text(encoding="utf-8")
    rounds = [row for row in map(json.loads, logged.splitlines()) if "reward" in row]
    assert len(rounds) == 2
    for row in rounds:
        assert row["reward"] == pytest.approx(
            row["objective/style"] + row["objective/overlap"] - row["objective/length_penalty"] - missing_ends(row),
            abs=1e-5,
        )
        assert 0 <= row["objective/style"] <= 2 and 0 <= row["objective/golden/place"] <= 1
    assert walk.printed.count("\n") == 2 and unexplained(tmp_path) == set()


def missing_ends(row: dict[str, float]) -> float:
    """What samples without an end marker cost, at the default price of 1."""
    return row["completions/clipped_ratio"]

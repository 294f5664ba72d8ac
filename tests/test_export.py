"""Exported models load in a fresh process with transformers and peft alone, and are the model that was trained."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from homestretch.config.training import TrainingConfig
from homestretch.policies.load import load_tokenizer, load_trunk
from homestretch.policies.trunk import Trunk
from homestretch.training.export import link_tree, save_model

IDS = [[9, 4, 17, 23], [30, 31, 32, 33]]
READER = """
import json, sys
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, pipeline
from peft import AutoPeftModelForCausalLM, AutoPeftModelForSeq2SeqLM

folder, out, ids = sys.argv[1], sys.argv[2], torch.tensor(json.loads(sys.argv[3]))
seq2seq = sys.argv[4] == "t5"
auto, peft = (
    (AutoModelForSeq2SeqLM, AutoPeftModelForSeq2SeqLM) if seq2seq else (AutoModelForCausalLM, AutoPeftModelForCausalLM)
)
inputs = {"input_ids": ids} | ({"decoder_input_ids": ids} if seq2seq else {})
models = {"merged": auto.from_pretrained(folder)}
if sys.argv[5] == "adapter":
    models["adapter"] = peft.from_pretrained(folder + "/adapter")
with torch.no_grad():
    save_file({name: model.eval()(**inputs).logits.contiguous() for name, model in models.items()}, out)
tokenizer = AutoTokenizer.from_pretrained(folder)
if seq2seq:
    made = models["merged"].generate(**tokenizer("abc", return_tensors="pt"), max_new_tokens=5)
    text = tokenizer.decode(made[0])
else:
    text = pipeline("text-generation", model=folder)("abc", max_new_tokens=5, do_sample=False)[0]["generated_text"]
print(json.dumps({"text": text, "homestretch": "homestretch" in sys.modules}))
"""


def in_a_fresh_process(folder: Path, out: Path, name: str, kind: str) -> dict:
    arguments = [str(folder), str(out), json.dumps(IDS), name, kind]
    done = subprocess.run(
        [sys.executable, "-c", READER, *arguments], capture_output=True, text=True, env=os.environ, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def logits_of(trunk: Trunk, adapter: str | None) -> torch.Tensor:
    ids = torch.tensor(IDS)
    inputs = {"decoder_input_ids": ids} if trunk.is_encoder_decoder else {}
    with torch.no_grad(), trunk.using(adapter):
        return trunk.lm(input_ids=ids, **inputs).logits


def exported(folder: Path, name: str, *, adapter: bool) -> torch.Tensor:
    """Export a changed tiny model to `folder/model`; the logits that it had."""
    base = tiny.save(folder / "base", name)
    tiny.tokenizer(chat=True).save_pretrained(base)
    trunk = load_trunk(base)
    torch.manual_seed(1)
    if adapter:
        trunk.add_adapter("reward", TrainingConfig(lora_r=2))
        trunk.add_adapter("policy", TrainingConfig(lora_r=4))
    with torch.no_grad():
        for parameter_name, parameter in trunk.named_parameters():
            if "lora_B" in parameter_name or (not adapter and parameter.dim() > 1):
                parameter.add_(torch.randn_like(parameter) * 0.2)
    before, used = logits_of(trunk, None), "policy" if adapter else None
    expected = logits_of(trunk, used)
    assert not adapter or (expected - before).abs().max() > 1e-2
    save_model(trunk, used, load_tokenizer(base), folder / "model")
    return expected


@pytest.mark.parametrize("kind", ["adapter", "full"])
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_the_model_of_a_run_is_the_one_that_was_trained(tmp_path, name, kind):
    expected = exported(tmp_path, name, adapter=kind == "adapter")
    said = in_a_fresh_process(tmp_path / "model", tmp_path / "logits", name, kind)
    found = load_file(tmp_path / "logits")
    assert set(found) == ({"merged", "adapter"} if kind == "adapter" else {"merged"})
    for logits in found.values():
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    assert said["text"] and not said["homestretch"]
    assert (tmp_path / "model" / "adapter" / "adapter_model.safetensors").is_file() == (kind == "adapter")
    assert not list(tmp_path.glob(".*"))


def test_tokenizer_chat_template_and_end_marker_come_along(tmp_path):
    exported(tmp_path, "llama", adapter=True)
    read = AutoTokenizer.from_pretrained(tmp_path / "model")
    chat = [{"role": "user", "content": "hi"}]
    original = tiny.tokenizer(chat=True)
    assert read.chat_template == original.chat_template
    options = {"tokenize": False, "add_generation_prompt": True}
    assert read.apply_chat_template(chat, **options) == original.apply_chat_template(chat, **options) == "u:hi</s>a:"
    settings = json.loads((tmp_path / "model" / "generation_config.json").read_text())
    assert (settings["eos_token_id"], settings["pad_token_id"]) == (original.eos_token_id, original.pad_token_id)


def test_an_export_replaces_an_older_one_whole(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "left-over").write_text("old")
    (tmp_path / ".model.writing").mkdir()
    (tmp_path / ".model.writing" / "torn.safetensors").write_text("half")
    exported(tmp_path, "llama", adapter=False)
    names = {p.name for p in (tmp_path / "model").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not names & {"left-over", "torn.safetensors"}


def test_a_linked_copy_is_whole_and_replaces_what_was_there(tmp_path):
    (tmp_path / "a" / "adapter").mkdir(parents=True)
    (tmp_path / "a" / "weights").write_bytes(b"12")
    (tmp_path / "a" / "adapter" / "weights").write_bytes(b"3")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "old").write_text("old")
    link_tree(tmp_path / "a", tmp_path / "b")
    files = {str(p.relative_to(tmp_path / "b")): p.read_bytes() for p in (tmp_path / "b").rglob("*") if p.is_file()}
    assert files == {"weights": b"12", "adapter/weights": b"3"}

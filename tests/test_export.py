"""Exported models load in a fresh process with transformers and peft alone, and are the model that was trained."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
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

pytestmark = pytest.mark.slow

IDS = [[9, 4, 17, 23], [30, 31, 32, 33]]
READER = """
import json, sys
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, pipeline
from peft import AutoPeftModelForCausalLM, AutoPeftModelForSeq2SeqLM

CLASSES = {
    "llama": (AutoModelForCausalLM, AutoPeftModelForCausalLM),
    "t5": (AutoModelForSeq2SeqLM, AutoPeftModelForSeq2SeqLM),
}
ids = torch.tensor(json.loads(sys.argv[2]))

def read(run, name, kind):
    auto, peft = CLASSES[name]
    inputs = {"input_ids": ids} | ({"decoder_input_ids": ids} if name == "t5" else {})
    models = {"merged": auto.from_pretrained(run + "/model")}
    if kind == "adapter":
        models["adapter"] = peft.from_pretrained(run + "/model/adapter")
    with torch.no_grad():
        logits = {key: model.eval()(**inputs).logits.contiguous() for key, model in models.items()}
    save_file(logits, run + "/logits")
    tokenizer = AutoTokenizer.from_pretrained(run + "/model")
    if name == "t5":
        made = models["merged"].generate(**tokenizer("abc", return_tensors="pt"), max_new_tokens=5)
        return tokenizer.decode(made[0])
    speak = pipeline("text-generation", model=run + "/model")
    return speak("abc", max_new_tokens=5, do_sample=False)[0]["generated_text"]

runs = [(name, kind) for name in CLASSES for kind in ("adapter", "full")]
texts = {f"{name}-{kind}": read(f"{sys.argv[1]}/{name}-{kind}", name, kind) for name, kind in runs}
print(json.dumps({"texts": texts, "homestretch": "homestretch" in sys.modules}))
"""


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


def test_the_model_of_a_run_is_the_one_that_was_trained(tmp_path):
    expected = {
        (name, kind): exported(tmp_path / f"{name}-{kind}", name, adapter=kind == "adapter")
        for name in ("llama", "t5")
        for kind in ("adapter", "full")
    }
    arguments = [str(tmp_path), json.dumps(IDS)]
    done = subprocess.run([sys.executable, "-c", READER, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert len(said["texts"]) == 4 and all(said["texts"].values()) and not said["homestretch"]
    for (name, kind), logits in expected.items():
        run = tmp_path / f"{name}-{kind}"
        found = load_file(run / "logits")
        assert set(found) == ({"merged", "adapter"} if kind == "adapter" else {"merged"})
        for value in found.values():
            torch.testing.assert_close(value, logits, atol=1e-5, rtol=0)
        assert (run / "model" / "adapter" / "adapter_model.safetensors").is_file() == (kind == "adapter")
        assert not list(run.glob(".*"))
        if kind == "adapter":  # or the same adapter would be other bytes in each process
            modules = json.loads((run / "model" / "adapter" / "adapter_config.json").read_text())["target_modules"]
            assert modules == sorted(modules) and len(modules) >= 6


TIED = [
    ("llama", "lm_head"),
    ("llama", "embed_tokens"),
    ("llama", "lm_head embed_tokens"),
    ("gemma3", "lm_head embed_tokens"),
    ("gpt2", "lm_head"),
    ("gpt2", "wte"),
    ("t5", "lm_head"),
    ("bart", "lm_head"),
    ("bart", "decoder.embed_tokens"),
]


@pytest.mark.parametrize(("name", "targets"), TIED)
def test_an_adapter_on_a_layer_of_tied_weights_changes_that_layer_alone(tmp_path, name, targets):
    built = tiny.build(name)
    if name == "llama":
        built = type(built)(built.config.__class__(**built.config.to_dict() | {"tie_word_embeddings": True}))
    assert built.get_output_embeddings().weight is built.get_input_embeddings().weight
    trunk = Trunk(built.eval())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft's of tied weights
        attention = {"gpt2": "c_attn", "t5": "q"}.get(name, "q_proj")
        trunk.add_adapter("policy", TrainingConfig(lora_r=4, lora_target_modules=[attention, *targets.split()]))
    torch.manual_seed(1)
    layers = 0
    with torch.no_grad():
        for parameter_name, parameter in trunk.named_parameters():
            if "lora_B" in parameter_name or "lora_embedding_A" in parameter_name:
                parameter.normal_(std=0.3)
                layers += any(target in parameter_name for target in targets.split())
    assert layers == len(targets.split())
    trained = logits_of(trunk, "policy").log_softmax(-1)
    assert (trained - logits_of(trunk, None).log_softmax(-1)).abs().max() > 0.1
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Setting `save_embedding_layers`")  # of the adapter beside it
        save_model(trunk, "policy", tiny.tokenizer(chat=True), tmp_path / "model")
    read = load_trunk(str(tmp_path / "model"))
    torch.testing.assert_close(logits_of(read, None).log_softmax(-1), trained, atol=1e-4, rtol=0)
    assert built.config.is_encoder_decoder or not read.lm.config.tie_word_embeddings


def test_tied_weights_stay_tied_where_no_adapter_is_on_them(tmp_path):
    trunk = Trunk(tiny.build("gpt2"))
    trunk.add_adapter("policy", TrainingConfig(lora_r=4))
    save_model(trunk, "policy", tiny.tokenizer(chat=True), tmp_path / "model")
    assert load_trunk(str(tmp_path / "model")).lm.config.tie_word_embeddings
    assert "lm_head.weight" not in load_file(tmp_path / "model" / "model.safetensors")


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

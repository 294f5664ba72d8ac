"""Tiny random-weight models of several architectures, built in memory."""

from __future__ import annotations

import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from homestretch.policies.load import load_lm

VOCAB = 61
EOS = 1


def llama(vocab: int = VOCAB, width: int = 32, layers: int = 2) -> PreTrainedModel:
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=2,
        eos_token_id=EOS,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config)


def gpt2(vocab: int = VOCAB, width: int = 32) -> PreTrainedModel:
    config = GPT2Config(
        vocab_size=vocab, n_embd=width, n_layer=2, n_head=4, n_positions=256, bos_token_id=2, eos_token_id=EOS
    )
    return GPT2LMHeadModel(config)


def qwen3(vocab: int = VOCAB) -> PreTrainedModel:
    config = Qwen3Config(
        vocab_size=vocab,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=256,
        eos_token_id=EOS,
        bos_token_id=2,
        pad_token_id=0,
    )
    return Qwen3ForCausalLM(config)


def gemma3(vocab: int = VOCAB) -> PreTrainedModel:
    config = Gemma3TextConfig(
        vocab_size=vocab,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention"],
        max_position_embeddings=256,
        final_logit_softcapping=3.0,
        eos_token_id=EOS,
        bos_token_id=2,
        pad_token_id=0,
    )
    return Gemma3ForCausalLM(config)


def t5(vocab: int = VOCAB, width: int = 32) -> PreTrainedModel:
    config = T5Config(
        vocab_size=vocab,
        d_model=width,
        d_kv=width // 4,
        d_ff=2 * width,
        num_layers=2,
        num_heads=4,
        eos_token_id=EOS,
        pad_token_id=0,
        decoder_start_token_id=0,
        dropout_rate=0.0,
    )
    return T5ForConditionalGeneration(config)


def bart(vocab: int = VOCAB) -> PreTrainedModel:
    config = BartConfig(
        vocab_size=vocab,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=256,
        eos_token_id=EOS,
        bos_token_id=2,
        pad_token_id=0,
        decoder_start_token_id=2,
        forced_eos_token_id=None,
    )
    return BartForConditionalGeneration(config)


BUILDERS = {"llama": llama, "gpt2": gpt2, "qwen3": qwen3, "gemma3": gemma3, "t5": t5, "bart": bart}


def build(name: str, *, seed: int = 0) -> PreTrainedModel:
    """A tiny model whose random weights are large enough for its outputs to differ."""
    torch.manual_seed(seed)
    model = BUILDERS[name]()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
    if name == "bart":
        model.final_logits_bias.normal_()
    return model.float().eval()


LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ .,:;!?'"


def tokenizer(*, chat: bool = False):
    """One token a character: <pad> 0, </s> 1, <s> 2, then LETTERS."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocab = {"<pad>": 0, "</s>": 1, "<s>": 2, "<unk>": 3} | {letter: 4 + i for i, letter in enumerate(LETTERS)}
    inner = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    inner.decoder = decoders.Fuse()
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="</s>", pad_token="<pad>", bos_token="<s>", unk_token="<unk>"
    )
    if chat:
        made.chat_template = (
            "{% for m in messages %}{{ m['role'][0] }}:{{ m['content'] }}</s>{% endfor %}"
            "{% if add_generation_prompt %}a:{% endif %}"
        )
    return made


def save(folder, name: str = "llama", *, seed: int = 0, std: float = 0.08, **options):
    """A tiny model and its tokenizer in Hugging Face format; returns the folder as a string."""
    torch.manual_seed(seed)
    model = BUILDERS[name](vocab=4 + len(LETTERS), **options)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=std)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)


def mute(folder, *, seed: int = 0) -> str:
    """A saved model that ends every text at once: each state is the embedding of the end marker, nearest to itself."""
    model = load_lm(save(folder, "gpt2", seed=seed, std=0.2))
    with torch.no_grad():
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias.copy_(50 * model.get_input_embeddings().weight[EOS])
    model.save_pretrained(folder)
    return str(folder)

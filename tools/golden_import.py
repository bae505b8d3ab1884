#!/usr/bin/env python3
"""Makes tiny models with transformers, as folders, and the logits that transformers gives for some ids.

    golden_import.py tests/data/model/hf [CASE...]

    <case>/config.json, *.safetensors, tokenizer.json, ...    as save_pretrained() writes them
    <case>/golden.safetensors                                 ids [T] (I32), logits [T, V] (F32)

Weights are drawn at random, wide enough that every part of the model shows in the logits, rounded to the element type
of the files, and read back; the logits are those of the f32 model, attention written out (`eager`).  Made with
transformers 5.24.0, tokenizers 0.23.3, torch 2.15.0.  Building, running and testing mm1 needs none of this.
"""
import json
import pathlib
import shutil
import sys

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

T = 24
TEXT = ["The quick brown fox jumps over the lazy dog.", "A cat sat on the mat, and the dog sat on the cat.",
        "There are 12 months in a year and 365 days.", "the then they them there these"]


def byte_level_tokenizer(path, vocab_size):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=["<|endoftext|>"],
                                                    initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                                    show_progress=False))
    path.write_text(json.dumps(json.loads(t.to_str()), ensure_ascii=False, separators=(",", ":")))


def draw(model, seed):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            x = torch.randn(p.shape, generator=g)
            if p.dim() > 1:
                p.copy_(x * (1.0 if "embed" in name or "wte" in name else 1.5 / p.shape[-1] ** 0.5))
            else:
                p.copy_(x * 0.3 if name.endswith("bias") else 1 + 0.3 * x)


def rope(theta, **scaling):
    return {"rope_theta": theta, "rope_type": "default", **scaling}


def sizes(**more):
    return {"vocab_size": 288, "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 4, "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 0, **more}


def cases():
    """name -> configuration, element type, largest file"""
    llama, mistral, gpt2 = transformers.LlamaConfig, transformers.MistralConfig, transformers.GPT2Config
    qwen2, qwen3 = transformers.Qwen2Config, transformers.Qwen3Config
    mixtral, olmoe = transformers.MixtralConfig, transformers.OlmoeConfig
    small = {"vocab_size": 288, "n_positions": 32, "n_embd": 24, "n_layer": 2, "bos_token_id": 0, "eos_token_id": 0}
    return {
        "llama": (llama(**sizes(num_key_value_heads=2, head_dim=12, rope_parameters=rope(10000.0))), "float32", "40KB"),
        "llama_scaled": (llama(**sizes(num_key_value_heads=1, tie_word_embeddings=True, rms_norm_eps=1e-5,
                                       rope_parameters=rope(500.0, rope_type="llama3", factor=8.0, low_freq_factor=1.0,
                                                            high_freq_factor=4.0,
                                                            original_max_position_embeddings=16))), "bfloat16", None),
        "llama_biased": (llama(**sizes(attention_bias=True, mlp_bias=True, hidden_act="gelu_pytorch_tanh",
                                       rope_parameters=rope(100.0, rope_type="linear", factor=2.5))), "float16", None),
        "mistral": (mistral(**sizes(num_key_value_heads=2, head_dim=10, sliding_window=6,
                                    rope_parameters=rope(10000.0))), "bfloat16", None),
        "qwen2": (qwen2(**sizes(num_key_value_heads=2, tie_word_embeddings=True, sliding_window=8,
                                rope_parameters=rope(1e6))), "bfloat16", None),
        "qwen3": (qwen3(**sizes(num_key_value_heads=1, head_dim=8, tie_word_embeddings=True,
                                rope_parameters=rope(1e6))), "bfloat16", None),
        "mixtral": (mixtral(**sizes(num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2,
                                    rope_parameters=rope(1e6))), "bfloat16", None),
        "olmoe": (olmoe(**sizes(num_key_value_heads=2, num_experts=6, num_experts_per_tok=3, intermediate_size=16,
                                rope_parameters=rope(10000.0))), "bfloat16", None),
        "gpt2": (gpt2(n_head=4, **small), "float16", None),
        "gpt2_bare": (gpt2(n_head=3, n_inner=40, activation_function="gelu", **small), "float16", None),
    }


def make(out, name, config, dtype, shard):
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model = transformers.AutoModelForCausalLM.from_config(config)
    model = model.base_model if name.endswith("_bare") else model  # names without prefix
    draw(model, sum(map(ord, name)))
    model.to(getattr(torch, dtype)).save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    byte_level_tokenizer(folder / "tokenizer.json", 288)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model.eval()
    ids = torch.randint(0, config.vocab_size, (1, T), generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        logits = model(ids).logits[0]
    save_file({"ids": ids[0].to(torch.int32), "logits": logits.contiguous()}, folder / "golden.safetensors")
    for f in folder.iterdir():
        f.chmod(0o644)
    print(name, f"logits within {logits.abs().max():.2f},",
          sum(f.stat().st_size for f in folder.iterdir()) // 1024, "KiB")


def main():
    out = pathlib.Path(sys.argv[1])
    for name, (config, dtype, shard) in cases().items():
        if len(sys.argv) < 3 or name in sys.argv[2:]:
            make(out, name, config, dtype, shard)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Makes tiny GGUF models and what llama.cpp makes of them (llama-cpp-python 0.3.36, gguf 0.19.0, tokenizers 0.23.3).

    golden_import_gguf.py make tests/data/model/gguf [CASE...]    <case>.gguf and <case>.golden.safetensors
    golden_import_gguf.py check FILE.gguf                         llama.cpp loads the file and goes on from a few words

The golden files hold ids [T] (I32) and the logits [T, V] of llama.cpp with keys and values in F32, and texts with their
ids.  A case with quantised weights has the logits of the same weights as F32, for llama.cpp rounds what it multiplies
with them.  Weights are random, wide enough that every part of the model shows in the logits.
"""
import json
import pathlib
import sys
import tempfile

import numpy as np
from gguf import GGMLQuantizationType as Q
from gguf import GGUFWriter, quants
from gguf.constants import GGML_QUANT_SIZES
from llama_cpp import Llama
from safetensors.numpy import save_file
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

T = 24
TRAIN = ["The quick brown fox jumps over the lazy dog.", "A cat sat on the mat, and the dog sat on the cat.",
         "There are 12 months in a year and 365 days.", "the then they them there these",
         "It's what they'd say; we'll see.  I'M HERE, YOU'RE NOT\n\n  indented\r\n2024 1999"]
TEXTS = [*TRAIN, "", " ", "   leading", "trailing   ", "a\tb\n\n\nc \r\n d", "12345 6789 3.14159", "they'll THEY'LL we've",
         "caf\u00e9 na\u00efve \u00fcber \u4f60\u597d\u4e16\u754c \U0001f600\U0001f468\u200d\U0001f469", "<|endoftext|> is text",
         "x=1;y[2]={3}", "\u0661\u0662\u0663 \u2163 \u00bd", "_under_score__", "the\u00a0dog\u3000sat"]

WORDS = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def splitter(pre):
    split = {"smollm": r"\p{N}", "llama-bpe": WORDS % r"\p{N}{1,3}", "qwen2": WORDS % r"\p{N}"}.get(pre)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pre in ("gpt-2", "smollm"))
    if split is None:
        return byte_level
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(split), "isolated"), byte_level])


def byte_level(pre, n):
    """tokens, types, merges"""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = splitter(pre)
    t.train_from_iterator(TRAIN, trainers.BpeTrainer(vocab_size=n, special_tokens=["<|endoftext|>"], show_progress=False,
                                                     initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    model = json.loads(t.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    return tokens, [3] + [1] * (len(tokens) - 1), [" ".join(m) for m in model["merges"]]


# Sizes: width, layers, heads, key heads, width of a head, hidden width.
CASES = {
    "llama": dict(pre="gpt-2", sizes=(24, 2, 4, 2, 6, 32)),
    "llama_wide": dict(pre="smollm", sizes=(16, 2, 2, 1, 16, 24), theta=100000.0, linear=4.0, untied=True),
    "llama3": dict(pre="llama-bpe", sizes=(16, 1, 2, 1, 64, 16), theta=500000.0, llama3=8.0, untied=True),
    "llama_mixed": dict(pre="gpt-2", sizes=(256, 1, 1, 1, 32, 32), mixed=True),
    "qwen2": dict(pre="qwen2", arch="qwen2", sizes=(24, 2, 4, 2, 6, 32), theta=1000000.0, qkv_bias=True),
    "qwen3": dict(pre="qwen2", arch="qwen3", sizes=(24, 2, 4, 2, 8, 32), theta=1000000.0, qk_norm=True),
}


def llama3_factors(theta, d, factor):
    rates = theta ** (-np.arange(0, d, 2) / d)
    waves = 2 * np.pi / rates
    smooth = (8192 / waves - 1) / (4 - 1)
    middle = 1 / ((1 - smooth) / factor + smooth)
    return np.where(waves < 8192 / 4, 1, np.where(waves > 8192, factor, middle)).astype(np.float32)


def tensors(case, V):
    C, L, H, K, D, M = case["sizes"]
    rng = np.random.default_rng(len(str(case)))

    def matrix(rows, cols):
        return (rng.normal(0, 1.5 / cols ** 0.5, (rows, cols))).astype(np.float32)

    def norm():
        return (1 + 0.3 * rng.normal(0, 1, C)).astype(np.float32)

    out = {"token_embd.weight": rng.normal(0, 1, (V, C)).astype(np.float32), "output_norm.weight": norm()}
    if case.get("untied"):
        out["output.weight"] = matrix(V, C)
    if "llama3" in case:
        out["rope_freqs.weight"] = llama3_factors(case["theta"], D, case["llama3"])
    for i in range(L):
        b = f"blk.{i}."
        out[b + "attn_norm.weight"], out[b + "ffn_norm.weight"] = norm(), norm()
        for name, rows in (("q", H * D), ("k", K * D), ("v", K * D)):
            out[b + f"attn_{name}.weight"] = matrix(rows, C)
            if case.get("qkv_bias"):
                out[b + f"attn_{name}.bias"] = (0.3 * rng.normal(0, 1, rows)).astype(np.float32)
        for name in "qk" if case.get("qk_norm") else "":
            out[b + f"attn_{name}_norm.weight"] = (1 + 0.3 * rng.normal(0, 1, D)).astype(np.float32)
        out[b + "attn_output.weight"] = matrix(C, H * D)
        out[b + "ffn_gate.weight"], out[b + "ffn_up.weight"] = matrix(M, C), matrix(M, C)
        out[b + "ffn_down.weight"] = matrix(C, M)
    return out


def k_blocks(x, q, rng):
    """Random blocks of a format that the package cannot write, of about the size of x."""
    block, width = GGML_QUANT_SIZES[q]
    bits = rng.integers(0, 256, (x.shape[0], x.shape[1] // block, width), dtype=np.uint8)
    for at, scale in ({0: 1e-3, 2: 1e-2} if q == Q.Q4_K else {208: 3e-5}).items():
        half = (scale * rng.uniform(0.5, 1, bits.shape[:2])).astype(np.float16)
        bits[:, :, at:at + 2] = half[..., None].view(np.uint8)
    return bits.reshape(x.shape[0], -1)


MIXED = {"token_embd": Q.Q6_K, "attn_q": Q.Q4_K, "attn_k": Q.Q8_0, "attn_v": Q.BF16, "attn_output": Q.Q4_0,
         "ffn_gate": Q.F16, "ffn_up": Q.Q4_1, "ffn_down": Q.Q8_0}


def write(path, case, vocab, weights):
    """weights: name -> (format, array)"""
    C, L, H, K, D, M = case["sizes"]
    tokens, types, merges = vocab
    arch = case.get("arch", "llama")
    w = GGUFWriter(str(path), arch)
    w.add_context_length(64)
    w.add_embedding_length(C)
    w.add_block_count(L)
    w.add_feed_forward_length(M)
    w.add_head_count(H)
    w.add_head_count_kv(K)
    w.add_key_length(D)
    w.add_value_length(D)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_dimension_count(D)
    w.add_rope_freq_base(case.get("theta", 10000.0))
    if "linear" in case:
        w.add_string(f"{arch}.rope.scaling.type", "linear")
        w.add_float32(f"{arch}.rope.scaling.factor", case["linear"])
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(case["pre"])
    w.add_token_list(tokens)
    w.add_token_types(types)
    w.add_token_merges(merges)
    w.add_bos_token_id(0)
    w.add_eos_token_id(0)
    w.add_bool("tokenizer.ggml.add_bos_token", False)
    for name, (q, x) in weights.items():
        w.add_tensor(name, x, raw_dtype=q)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def logits(path, ids):
    llama = Llama(str(path), n_ctx=64, logits_all=True, verbose=False, type_k=0, type_v=0, flash_attn=False, n_threads=1)
    llama.eval(ids)
    return np.array(llama.scores[:len(ids)], dtype=np.float32), llama


def make(folder, only):
    for name, case in CASES.items():
        if only and name not in only:
            continue
        path = pathlib.Path(folder) / f"{name}.gguf"
        path.parent.mkdir(parents=True, exist_ok=True)
        vocab = byte_level(case["pre"], 288)
        plain = tensors(case, len(vocab[0]))
        rng = np.random.default_rng(11)
        stored = {}
        for key, x in plain.items():
            q = next((q for part, q in MIXED.items() if part in key), Q.F32) if case.get("mixed") and x.ndim == 2 else Q.F32
            data = x if q == Q.F32 else k_blocks(x, q, rng) if q in (Q.Q4_K, Q.Q6_K) else quants.quantize(x, q)
            stored[key] = (q, data)
            plain[key] = x if q == Q.F32 else quants.dequantize(data, q).reshape(x.shape)
        write(path, case, vocab, stored)
        ids = rng.integers(1, len(vocab[0]), T).astype(np.int32)
        with tempfile.TemporaryDirectory() as tmp:
            f32 = pathlib.Path(tmp) / "f32.gguf"
            write(f32, case, vocab, {k: (Q.F32, x) for k, x in plain.items()})
            out, llama = logits(f32, ids.tolist())
            golden = {"ids": ids, "logits": out}
            for i, text in enumerate(TEXTS):
                golden[f"text.{i}"] = np.frombuffer(text.encode(), dtype=np.uint8)
                golden[f"text_ids.{i}"] = np.array(llama.tokenize(text.encode(), add_bos=False, special=False), np.int32)
        save_file(golden, str(path.with_suffix("")) + ".golden.safetensors")
        print(path, path.stat().st_size, "bytes; logits up to", np.abs(out).max())


def check(path):
    llama = Llama(path, n_ctx=64, verbose=False, n_threads=1)
    print(llama("The quick", max_tokens=8, temperature=0)["choices"][0]["text"])


if __name__ == "__main__":
    if sys.argv[1] == "check":
        check(sys.argv[2])
    else:
        make(sys.argv[2], sys.argv[3:])

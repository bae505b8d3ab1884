#!/usr/bin/env python3
"""Makes the seeds of the fuzz targets (with gguf 0.19.0, safetensors 0.8.0, numpy 2.4.6).

    fuzz_corpus.py tests/fuzz/corpus     writes <target>/seed_* there (run it in the root of the project)

Each is the smallest file that shows one form.  Files beside them without "seed_" are inputs that once were a defect.
"""
import json
import pathlib
import sys

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, quants
from safetensors.numpy import save_file


def gguf_seed(path):
    w = GGUFWriter(str(path), "llama")
    w.add_block_count(1)
    w.add_rope_freq_base(10000.0)
    w.add_bool("tokenizer.ggml.add_bos_token", False)
    w.add_tokenizer_model("gpt2")
    w.add_token_list(["a", "b", "ab"])
    w.add_token_types([1, 1, 3])
    w.add_token_merges(["a b"])
    x = np.ones((2, 32), dtype=np.float32)
    w.add_tensor("output_norm.weight", x[0])
    for q in (GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q4_0):
        w.add_tensor(f"blk.0.{q.name}", quants.quantize(x, q), raw_dtype=q)
    w.add_tensor("blk.0.Q4_K", np.zeros((1, 144), dtype=np.uint8), raw_dtype=GGMLQuantizationType.Q4_K)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def model_seed(path, arch, model):
    """A whole model, as small as it can be."""
    w = GGUFWriter(str(path), arch)
    for key, value in (("context_length", 8), ("embedding_length", 4), ("block_count", 1), ("feed_forward_length", 4),
                       ("attention.head_count", 1), ("attention.head_count_kv", 1), ("rope.dimension_count", 4)):
        w.add_uint32(f"{arch}.{key}", value)
    w.add_float32(f"{arch}.attention.layer_norm_rms_epsilon", 1e-5)
    w.add_tokenizer_model(model)
    if model == "gpt2":
        tokens, types = ["<|endoftext|>", *"Helo,12tsaI", "He", "ll"], [3] + [1] * 13
        w.add_tokenizer_pre("llama-bpe")
        w.add_token_merges(["H e", "l l"])
    else:
        tokens = ["<unk>", "<|endoftext|>", *(f"<0x{b:02X}>" for b in range(256)), "H", "e", "l", "He", "ll"]
        types = [2, 3] + [6] * 256 + [1] * 5
        w.add_token_scores([0.0] * 258 + [-4.0, -5.0, -6.0, -1.0, -2.0])
    w.add_token_list(tokens)
    w.add_token_types(types)
    shapes = {"token_embd": (len(tokens), 4), "output_norm": (4,), "blk.0.attn_norm": (4,), "blk.0.ffn_norm": (4,),
              **{f"blk.0.{n}": (4, 4) for n in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up",
                                                "ffn_down")}}
    if arch == "qwen2":
        for n in "qkv":
            w.add_tensor(f"blk.0.attn_{n}.bias", np.ones(4, dtype=np.float32))
    for name, shape in shapes.items():
        w.add_tensor(f"{name}.weight", np.ones(shape, dtype=np.float16 if len(shape) > 1 else np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def tokenizer(pre_tokenizer, normalizer=None, added=()):
    vocab = {t: i for i, t in enumerate(["<|endoftext|>", *sorted({chr(c) for c in range(33, 127)}), "\u0120", "\u010a",
                                         "ab", "\u0120w"])}
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [{"id": 0, "content": "<|endoftext|>", "special": True, **special},
                             *({"id": len(vocab) + i, "content": t, "special": False, **special}
                               for i, t in enumerate(added))],
            "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": None,
            "decoder": {"type": "ByteLevel"},
            "model": {"type": "BPE", "vocab": vocab, "merges": ["a b", ["\u0120", "w"]]}}


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
SPLIT = {"type": "Sequence", "pretokenizers": [
    {"type": "Split", "pattern": {"Regex": "\\p{L}+|\\p{N}| ?[^\\s\\p{L}]+|\\s+(?!\\S)|\\s+"}, "behavior": "Isolated",
     "invert": False}, {**BYTE_LEVEL, "use_regex": False}]}
CONFIG = {"architectures": ["MM1ForConditionalGeneration"], "model_type": "mm1", "kind": "mm1",
          "vision": {"image_size": 28, "patch_size": 14, "width": 16, "n_layers": 1, "n_heads": 2, "mlp_width": 32},
          "connector": {"kind": "c_abstractor", "n_tokens": 4},
          "decoder": {"vocab_size": 99, "width": 16, "n_layers": 1, "n_heads": 2, "n_kv_heads": 1, "mlp_width": 32,
                      "max_positions": 64, "rope_theta": 1e4, "act": "silu", "gated": True}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
LLAVA = [{"id": 1, "image": "a.png", "conversations": [{"from": "human", "value": "<image>\nWhat?"},
                                                       {"from": "gpt", "value": "A \"cat\" ]}."}]},
         {"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "x"},
                            {"from": "gpt", "value": "y"}]}]
MESSAGES = {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "and"}, PICTURE]},
                         {"role": "assistant", "content": "one"}, {"role": "user", "content": "<image>z"},
                         {"role": "assistant", "content": [{"type": "text", "text": "w"}]}],
            "images": [{"bytes": "aGk=", "path": None}, {"bytes": "aGk="}]}


def main(folder):
    root = pathlib.Path(folder)

    def text(name, value):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, separators=(",", ":")))

    text("config/seed_mm1.json", CONFIG)
    text("config/seed_decoder.json", {"model_type": "mm1", "kind": "decoder", "decoder": CONFIG["decoder"]})
    for path in sorted(pathlib.Path("tests/data/model/hf").glob("*/config.json")):
        text(f"config/seed_hf_{path.parent.name}.json", json.loads(path.read_text()))
    text("conversations/seed_llava.json", LLAVA)
    text("conversations/seed_messages.jsonl", MESSAGES)
    text("tokenizer/seed_bytes.json", tokenizer(BYTE_LEVEL))
    text("tokenizer/seed_split.json", tokenizer(SPLIT, {"type": "NFC"}, ["<tool>"]))
    for target in ("gguf", "model", "safetensors"):
        (root / target).mkdir(parents=True, exist_ok=True)
    gguf_seed(root / "gguf/seed_small.gguf")
    model_seed(root / "model/seed_llama.gguf", "llama", "gpt2")
    model_seed(root / "model/seed_qwen2.gguf", "qwen2", "gpt2")
    model_seed(root / "model/seed_sentencepiece.gguf", "llama", "llama")
    save_file({"w": np.ones((2, 3), dtype=np.float32), "h": np.ones(3, dtype=np.float16),
               "i": np.array([1, -2], dtype=np.int64), "empty": np.zeros((0, 2), dtype=np.uint8)},
              str(root / "safetensors/seed_small.safetensors"), {"format": "pt", "note": "\u00e4 \"quoted\""})


if __name__ == "__main__":
    main(sys.argv[1])

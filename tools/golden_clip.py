#!/usr/bin/env python3
"""Makes golden files of whole CLIP models with transformers (5.24.0, PyTorch 2.15.0).

    golden_clip.py tests/data/clip

writes there

    <model>/             a tiny model with random weights as transformers saves it, with tokenizer and image processor;
                         plain: quick_gelu, texts are read at the token of eos_token_id; legacy: in the form of
                         openai/clip-vit-base-patch32, with gelu: an eos_token_id of 2, which stands for the highest id
                         of a text, every key of transformers 4.16, sizes as numbers, buffers among the tensors
    <model>/golden.safetensors   for the first texts of cases.json "text" [n, D] and for the pictures of tests/data/vision "image" [3, D], unit
                         vectors; "logits" [3, n] with the learned scale; "pixels" [3, 3, R, R]
    cases.json           texts and their ids, for the tokenizer as transformers 5 writes it ("plain") and with the
                         components of the published files ("legacy")

The components of the tokenizers are CLIP's, the vocabulary is trained here on a few lines.  Pixels are those of
tests/data/vision/clip/golden.safetensors.  Building, running and testing mm1 needs none of this.
"""
import json
import os
import pathlib
import sys
import zlib

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

sys.dont_write_bytecode = True
from golden_char_tokenizer import words
from golden_vision import randomise

torch.set_num_threads(1)
PICTURES = ("small", "tall", "wide")
TEXTS = ["a photo of a cat", "A Photo of TWO cats!", "the", "", "naïve café, 12 people's  time\n", "word " * 30]
CASES = TEXTS + ["it's they're I'VE we'll don't", "'S 'Re", "!!'s'...", "a1b22c 333", "über Ärger ΣΑΣ ΟΔΟΣ İstanbul",
                 "日本語 你好世界", "e\u0301 q\u0307\u0323 \ufb01", "🙂👨‍👩‍👧", "\u3000\u00a0x\u2003y\x0bz\x85w", "\x00\x01\x7f", "</w> a</w>",
                 "<|x|>", "the" * 60, "x" * 300, "(the) [cat] {time}", "\t", "a_b __ --"]
MAX_POSITIONS = 16
OLD_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def make_tokenizer():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    train = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    train.normalizer = normalizers.Lowercase()
    train.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(OLD_PATTERN), behavior="removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)])
    train.train_from_iterator(words(60) + ["a photo of a cat two cats"] * 9, trainers.BpeTrainer(
        vocab_size=360, end_of_word_suffix="</w>", show_progress=False))
    merges = json.loads(train.to_str())["model"]["merges"]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in merges]
    tokens = alphabet + [c + "</w>" for c in alphabet] + ["".join(m) for m in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    assert len(set(tokens)) == len(tokens)
    return CLIPTokenizer(vocab={t: i for i, t in enumerate(tokens)}, merges=merges)


def write_tokenizer(tokenizer, folder, published):
    root = json.loads(tokenizer.backend_tokenizer.to_str())
    root["truncation"] = root["padding"] = None
    if published:  # pattern, fields and merges as in the files of 2021
        split, byte_level = root["pre_tokenizer"]["pretokenizers"]
        split["pattern"]["Regex"] = OLD_PATTERN
        del byte_level["use_regex"]
        root["decoder"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}
        root["model"]["merges"] = [" ".join(m) for m in root["model"]["merges"]]
    text = json.dumps(root, ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(text)
    return Tokenizer.from_str(text)


# What transformers 4.16 wrote into each part of a configuration beside what is CLIP's own.
OLD_KEYS = dict(_name_or_path="", add_cross_attention=False, architectures=None, bad_words_ids=None,
                chunk_size_feed_forward=0, cross_attention_hidden_size=None, decoder_start_token_id=None,
                diversity_penalty=0.0, do_sample=False, dropout=0.0, early_stopping=False,
                encoder_no_repeat_ngram_size=0, finetuning_task=None, forced_bos_token_id=None,
                forced_eos_token_id=None, id2label={"0": "LABEL_0", "1": "LABEL_1"}, is_decoder=False,
                is_encoder_decoder=False, label2id={"LABEL_0": 0, "LABEL_1": 1}, length_penalty=1.0, max_length=20,
                min_length=0, no_repeat_ngram_size=0, num_beam_groups=1, num_beams=1, num_return_sequences=1,
                output_attentions=False, output_hidden_states=False, output_scores=False, prefix=None,
                problem_type=None, pruned_heads={}, remove_invalid_values=False, repetition_penalty=1.0,
                return_dict=True, return_dict_in_generate=False, sep_token_id=None, task_specific_params=None,
                temperature=1.0, tie_encoder_decoder=False, tie_word_embeddings=True, tokenizer_class=None, top_k=50,
                top_p=1.0, torch_dtype=None, torchscript=False, transformers_version="4.16.0.dev0", use_bfloat16=False)


def as_published(folder):
    path = folder / "config.json"
    root = json.loads(path.read_text())
    for part in ("text_config", "vision_config"):
        own = {k: v for k, v in root[part].items() if k != "num_channels"}
        ids = {} if part == "text_config" else dict(bos_token_id=None, eos_token_id=None, pad_token_id=None)
        root[part] = {**OLD_KEYS, **ids, **own}
        root[part + "_dict"] = None
    root = {**root, "_name_or_path": "openai/clip-vit-base-patch32", "transformers_version": None}
    del root["dtype"]
    path.write_text(json.dumps(root, indent=1, sort_keys=True) + "\n")
    path = folder / "preprocessor_config.json"
    root = json.loads(path.read_text())
    keep = ("do_center_crop", "do_normalize", "do_resize", "image_mean", "image_std", "resample")
    path.write_text(json.dumps({**{k: root[k] for k in keep}, "crop_size": 30, "size": 30,
                                "feature_extractor_type": "CLIPFeatureExtractor"}, indent=1, sort_keys=True) + "\n")
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for part in ("text_model", "vision_model"):
        n = len(tensors[f"{part}.embeddings.position_embedding.weight"])
        tensors[f"{part}.embeddings.position_ids"] = torch.arange(n).reshape(1, n)
    save_file(tensors, path)  # without metadata


def pad(rows, fill):
    return torch.tensor([r + [fill] * (MAX_POSITIONS - len(r)) for r in rows])


def make(root, name, act, legacy, pixels):
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer()
    end, size = tokenizer.eos_token_id, len(tokenizer)
    assert end == size - 1
    towers = dict(num_hidden_layers=2, num_attention_heads=2, hidden_act=act, projection_dim=7)
    text = dict(**towers, hidden_size=12, intermediate_size=20, vocab_size=size, max_position_embeddings=MAX_POSITIONS,
                bos_token_id=tokenizer.bos_token_id, eos_token_id=2 if legacy else end, pad_token_id=end)
    vision = dict(**towers, hidden_size=16, intermediate_size=24, image_size=30, patch_size=6)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=11)).eval()
    randomise(model, np.random.default_rng(zlib.crc32(name.encode())))
    model.logit_scale.data = torch.tensor(1.75)
    model = model.float()
    model.save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 30}, crop_size={"height": 30, "width": 30}).save_pretrained(folder)
    if legacy:
        as_published(folder)
        model = CLIPModel.from_pretrained(folder).eval()
    backend = write_tokenizer(tokenizer, folder, legacy)
    rows = [backend.encode(t).ids for t in TEXTS]
    rows = [r[:MAX_POSITIONS - 1] + [end] if len(r) > MAX_POSITIONS else r for r in rows]  # as the tokenizer truncates
    mask = pad([[1] * len(r) for r in rows], 0)
    model = model.double()
    with torch.no_grad():
        y = model(input_ids=pad(rows, end), attention_mask=mask, pixel_values=pixels.double())
    save_file({"text": y.text_embeds.float().contiguous(), "image": y.image_embeds.float().contiguous(),
               "logits": y.logits_per_image.float().contiguous(), "pixels": pixels},
              folder / "golden.safetensors", metadata={"made_by": "tools/golden_clip.py"})
    for f in folder.iterdir():
        f.chmod(0o644)
    return [{"tokenizer": name, "text": t, "ids": backend.encode(t).ids} for t in CASES]


if __name__ == "__main__":
    out = pathlib.Path(sys.argv[1])
    golden = load_file(out.parent / "vision/clip/golden.safetensors")
    inputs = torch.stack([golden[f"{p}.pixels"] for p in PICTURES])
    cases = make(out, "plain", "quick_gelu", False, inputs) + make(out, "legacy", "gelu", True, inputs)
    (out / "cases.json").write_text(json.dumps(cases, ensure_ascii=True, separators=(",", ":")) + "\n")

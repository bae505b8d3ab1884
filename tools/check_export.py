#!/usr/bin/env python3
"""Compares what `mm1 convert --to hf` writes with what mm1 computes: transformers loads the folder, and

    a decoder       has the logits of `mm1 score --logits` of random ids
    an encoder      has the features and the pooled output of `mm1 encode` of a picture
    a CLIP          has the unit vector of `mm1 encode` of a picture, and the logits of golden_clip.py
    a whole model   has the logits of `mm1 score --logits` of a document with a picture

    check_export.py build/release/mm1 [MODEL...]        MODEL: folders that mm1 loads (default: those of tests/data)

Prints, for each model, the architecture and the largest differences, of the converted model to mm1's; whether the
converted tokenizer gives the ids of the original one; and the largest difference of a pixel of the converted image
processor, which is 0 before Pillow 13 (that one resizes some pictures in another order).  Exits with 1 if a difference
is over 1e-4 of the largest value.  Needs torch, transformers, Pillow and safetensors; building, running and testing mm1
does not.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
import transformers
from PIL import Image
from safetensors.torch import load_file

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

TEXT = "The quick brown fox, 365 days;  two spaces\nand a line.  naïve 漢字 🙂"
T = 24
PICTURE = pathlib.Path(__file__).resolve().parent.parent / "tests/data/vision/pictures/wide.png"


def run(*command):
    subprocess.run([str(c) for c in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def load(auto, out):
    model, info = auto.from_pretrained(out, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    return model.eval(), not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def difference(ours, theirs):
    """Of values, and as a share of the largest."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return (ours - theirs).abs().max().item(), theirs.abs().max().item()


def same_ids(source, out):
    # Not AutoTokenizer: transformers 5 gives every model of type qwen2 the splits of Qwen's own tokenizer.
    tokens = transformers.PreTrainedTokenizerFast.from_pretrained(out)(TEXT, add_special_tokens=False)["input_ids"]
    want = transformers.PreTrainedTokenizerFast(tokenizer_file=str(source / "tokenizer.json"))
    return tokens == want(TEXT, add_special_tokens=False)["input_ids"]


def pixel_difference(out, picture, ours):
    """The processor that the folder asks for, on Pillow."""
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(out, backend="pil")
    except TypeError:
        processor = transformers.AutoImageProcessor.from_pretrained(out, use_fast=False)
    pixels = processor(Image.open(picture).convert("RGB"), return_tensors="pt")["pixel_values"]
    return difference(ours.reshape(-1), pixels.reshape(-1).float())[0]


def check_decoder(mm1, source, out, tmp, config):
    ids_file, logits_file = tmp / "ids.json", tmp / "logits.safetensors"
    n = min(T, config.get("max_position_embeddings", config.get("n_positions")))
    ids = torch.randint(0, config["vocab_size"], (n,), generator=torch.Generator().manual_seed(11))
    ids_file.write_text(json.dumps({"tokens": ids.tolist()}))
    run(mm1, "score", "-m", source, "-d", ids_file, "--logits", logits_file)
    model, complete = load(transformers.AutoModelForCausalLM, out)
    with torch.no_grad():
        pairs = [difference(load_file(logits_file)["logits"], model(ids[None]).logits[0])]
    return model, complete, pairs, ""


def encode(mm1, source, picture, tmp):
    run(mm1, "encode", "-m", source, "--image", picture, "--output", tmp / "encoded.safetensors")
    return load_file(tmp / "encoded.safetensors")


def check_encoder(mm1, source, out, tmp, config):
    ours = encode(mm1, source, PICTURE, tmp)
    name = config["architectures"][0]
    model, complete = load(getattr(transformers, name), out)
    with torch.no_grad():
        y = model(ours["pixels"][None])
    features = y.last_hidden_state[0]
    tower = getattr(model, "vision_model", model)
    if name.startswith("CLIP"):  # transformers leaves the norm to those who pool
        features = tower.post_layernorm(features)
    if not name.startswith("Siglip"):
        features = features[1:]
    pooled = y.image_embeds if name.endswith("WithProjection") else y.pooler_output
    pairs = [difference(ours["features"], features.detach()), difference(ours["pooled"], pooled[0].detach())]
    return model, complete, pairs, f", pixels {pixel_difference(out, PICTURE, ours['pixels']):.1e}"


def check_clip(mm1, source, out, tmp, config):
    """Texts: those of the golden file beside the model, by the tokenizer that was written."""
    golden = load_file(source / "golden.safetensors")
    cases = json.loads((source.parent / "cases.json").read_text())
    texts = [c["text"] for c in cases if c["tokenizer"] == source.name][:len(golden["text"])]
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(out)
    ids = tokenizer(texts, truncation=True)["input_ids"]
    longest, end = max(map(len, ids)), tokenizer.eos_token_id
    rows = torch.tensor([row + [end] * (longest - len(row)) for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
    ours = encode(mm1, source, PICTURE, tmp)
    model, complete = load(transformers.CLIPModel, out)
    with torch.no_grad():
        y = model(input_ids=rows, attention_mask=mask, pixel_values=golden["pixels"])
        picture = model(input_ids=rows, attention_mask=mask, pixel_values=ours["pixels"][None]).image_embeds[0]
    pairs = [difference(golden["logits"], y.logits_per_image), difference(ours["embedding"], picture)]
    return model, complete, pairs, f", pixels {pixel_difference(out, PICTURE, ours['pixels']):.1e}"


def check_whole(mm1, source, out, tmp, config):
    picture = source / "picture.png" if (source / "picture.png").exists() else PICTURE
    document, logits_file = tmp / "document.json", tmp / "logits.safetensors"
    document.write_text(json.dumps({"parts": [{"type": "text", "text": "What is "}, {"type": "image", "path": str(
        picture.resolve())}, {"type": "text", "text": " this? A picture."}]}))
    run(mm1, "score", "-m", source, "-d", document, "--logits", logits_file)
    ours, pixels = load_file(logits_file), encode(mm1, source, picture, tmp)["pixels"]
    model, complete = load(transformers.AutoModelForImageTextToText, out)
    image_id = config.get("image_token_index", config.get("image_token_id"))
    inputs = {"input_ids": torch.where(ours["tokens"] < 0, image_id, ours["tokens"]).long()[None],
              "pixel_values": pixels[None]}
    if config["model_type"] == "llava_next":
        inputs["image_sizes"] = torch.tensor([Image.open(picture).size[::-1]])
    with torch.no_grad():
        pairs = [difference(ours["logits"], model(**inputs).logits[0])]
    return model, complete, pairs, f", pixels {pixel_difference(out, picture, pixels):.1e}"


def check(mm1, source, tmp):
    out = tmp / "hf"
    run(mm1, "convert", source, out, "--to", "hf", "--force")
    config = json.loads((out / "config.json").read_text())
    how = (check_clip if config["model_type"] == "clip" else check_whole if "text_config" in config
           else check_encoder if "patch_size" in config else check_decoder)
    model, complete, pairs, more = how(mm1, source, out, tmp, config)
    has_text = (source / "tokenizer.json").exists()
    ids = same_ids(source, out) if has_text else True
    print(f"{source.name:16} {type(model).__name__:31} largest value {max(m for _, m in pairs):6.2f}, "
          f"difference {max(d for d, _ in pairs):.1e}, {'all tensors' if complete else 'TENSORS DIFFER'}"
          f"{'' if not has_text else ', same ids' if ids else ', OTHER IDS'}{more}", flush=True)
    return all(d <= 1e-4 * m for d, m in pairs) and complete and ids


def main():
    mm1 = pathlib.Path(sys.argv[1])
    here = pathlib.Path(__file__).resolve().parent.parent
    models = [pathlib.Path(m) for m in sys.argv[2:]]
    for part in ("model/hf", "vision", "clip", "whole") if not models else ():
        models += sorted(p.parent for p in (here / "tests/data" / part).glob("*/config.json"))
    ok = True
    with tempfile.TemporaryDirectory() as tmp:
        for m in models:
            ok = check(mm1, m, pathlib.Path(tmp)) and ok
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())

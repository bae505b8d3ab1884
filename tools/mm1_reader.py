#!/usr/bin/env python3
"""Reads a model folder of mm1 (docs/formats.md) with PyTorch, and computes the logits of a document: text and images.

    mm1_reader.py MODEL DOCUMENT                     the five likeliest next tokens, and the log-probability of each token
    mm1_reader.py MODEL DOCUMENT --check MM1         compares all logits with `MM1 score --logits`

One file without mm1, for those who want such a model in Python: model = Model(folder); logits = model.logits(tokens,
pixels).  Needs torch, safetensors, tokenizers and Pillow.
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from safetensors.torch import load_file
from tokenizers import Tokenizer

IMAGE = -1
ACTS = {"relu": F.relu, "gelu": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "silu": F.silu,
        "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x), "sigmoid": torch.sigmoid, "none": lambda x: x}
# What this file reads; anything else in config.json may change what a model computes.
KNOWN = {
    "vision": "image_size patch_size width n_layers n_heads mlp_width act norm_eps",
    "connector": "kind n_tokens hidden depth n_heads",
    "decoder": "vocab_size width n_layers n_heads n_kv_heads head_dim mlp_width norm act gated bias qkv_bias qk_norm "
               "sliding_window tie_embeddings positions max_positions rope_theta rope_scaling norm_eps moe",
}


def read_json(path):
    return json.loads(path.read_text()) if path.exists() else {}


def roles(folder, tokenizer):
    """The ids that begin and end a document (docs/formats.md): bos, which may be None, and eos."""
    default = tokenizer.token_to_id("<|endoftext|>")
    file = read_json(folder / "tokenizer_config.json")
    named = lambda key: tokenizer.token_to_id(file[key]["content"] if isinstance(file[key], dict) else file[key])
    bos = default
    if has_template(tokenizer):  # what it puts before text
        bos = next(iter(tokenizer.encode("").ids), None)
    if "add_bos_token" in file:
        bos = named("bos_token") if file["add_bos_token"] else None
    eos = named("eos_token") if file.get("eos_token") else None
    if eos is None:
        eos = read_json(folder / "generation_config.json").get("eos_token_id", default)
    return bos, eos[0] if isinstance(eos, list) else eos


def has_template(tokenizer):
    post = json.loads(tokenizer.to_str()).get("post_processor") or {}
    return any(p.get("type") == "TemplateProcessing" for p in post.get("processors", [post]))


class Model:
    def __init__(self, folder):
        folder = pathlib.Path(folder)
        self.config = json.loads((folder / "config.json").read_text())
        if self.config["model_type"] != "mm1":
            raise ValueError(f"{folder}: model_type {self.config['model_type']}: no folder of mm1's own")
        for part, keys in KNOWN.items():
            unknown = set(self.config.get(part, {})) - set(keys.split())
            if unknown:
                raise ValueError(f"{folder}: config.json: {part}: {', '.join(sorted(unknown))}: not understood")
        self.w = {name: x.float() for name, x in load_file(folder / "model.safetensors").items()}
        self.sees = "vision" in self.config and "connector" in self.config
        self.preprocessor = json.loads((folder / "preprocessor_config.json").read_text()) if self.sees else None
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.bos, self.eos = roles(folder, self.tokenizer)

    # ---- documents ----

    def pixels(self, path):
        """A picture as [3, R, R]."""
        p, R = self.preprocessor, self.config["vision"]["image_size"]
        image = ImageOps.exif_transpose(Image.open(path))
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("RGB")
        w, h = image.size
        if p["fit"] == "pad":
            square = Image.new("RGB", (max(w, h), max(w, h)), "white")
            square.paste(image, ((max(w, h) - w) // 2, (max(w, h) - h) // 2))
            image = square
        elif p["fit"] == "crop":
            w, h = w * R // min(w, h), h * R // min(w, h)
        if p["fit"] == "crop":
            image = image.resize((w, h), p["resample"])
            image = image.crop(((w - R) // 2, (h - R) // 2, (w - R) // 2 + R, (h - R) // 2 + R))
        else:
            image = image.resize((R, R), p["resample"])
        x = (np.asarray(image, dtype=np.float32) / 255 - p["image_mean"]) / p["image_std"]
        return torch.tensor(x, dtype=torch.float32).permute(2, 0, 1)

    def read(self, path):
        """A document: tokens [T] (IMAGE in each slot of an image) and pixels [I, 3, R, R]."""
        path = pathlib.Path(path)
        document = json.loads(path.read_text())
        if "tokens" in document:
            return document["tokens"], torch.zeros(0)
        tokens, pixels = [] if self.bos is None else [self.bos], []
        for part in document["parts"]:
            if part["type"] == "image":
                tokens += [IMAGE] * self.config["connector"]["n_tokens"]
                pixels.append(self.pixels(path.parent / part["path"]))
            else:
                tokens += self.tokenizer.encode(part["text"], add_special_tokens=False).ids
        return tokens + [self.eos], torch.stack(pixels) if pixels else torch.zeros(0)

    # ---- layers ----

    def linear(self, x, name):
        return F.linear(x, self.w[name + ".weight"], self.w.get(name + ".bias"))

    def norm(self, x, name, eps):
        w = self.w[name + ".weight"]
        return (F.layer_norm(x, w.shape, w, self.w[name + ".bias"], eps) if name + ".bias" in self.w
                else F.rms_norm(x, w.shape, w, eps))

    @staticmethod
    def attention(q, k, v, mask=None):
        """q [B, H, T, D]; k, v [B, Hkv, S, D] -> [B, T, H D]."""
        group = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)

    def block(self, x, name, c, mask=None, turn=None):
        B, T, _ = x.shape
        H, eps = c["n_heads"], c["norm_eps"]
        Hkv, D = c.get("n_kv_heads", H), c.get("head_dim", c["width"] // H)
        q, k, v = self.linear(self.norm(x, name + ".norm1", eps),
                              name + ".attn.qkv").split([H * D, Hkv * D, Hkv * D], 2)
        q_norm, k_norm = (lambda y, part=part: self.norm(y, f"{name}.attn.{part}_norm", eps) for part in "qk")
        kind = c.get("qk_norm", "none")
        if kind == "full":
            q, k = q_norm(q), k_norm(k)
        q, k, v = (y.view(B, T, -1, D) for y in (q, k, v))
        if kind == "head":
            q, k = q_norm(q), k_norm(k)
        q, k, v = (y.transpose(1, 2) for y in (q, k, v))
        if turn is not None:
            q, k = turn(q), turn(k)
        x = x + self.linear(self.attention(q, k, v, mask), name + ".attn.out")
        h = self.norm(x, name + ".norm2", eps)
        if name + ".moe.router.weight" in self.w:
            return x + self.experts(h, name + ".moe", c)
        up = name + (".mlp.gate_up" if c.get("gated", False) else ".mlp.up")
        return x + self.linear(self.unit(self.linear(h, up), c), name + ".mlp.down")

    @staticmethod
    def unit(u, c):
        if not c.get("gated", False):
            return ACTS[c["act"]](u)
        gate, up = u.chunk(2, -1)
        return ACTS[c["act"]](gate) * up

    def experts(self, h, name, c):
        """A mixture of experts; every expert computes all rows here, and the gates choose."""
        p = self.linear(h, name + ".router").softmax(-1)
        gates, choice = p.topk(c["moe"]["top_k"], -1)
        if c["moe"]["normalize"]:
            gates = gates / gates.sum(-1, keepdim=True)
        gates = torch.zeros_like(p).scatter(-1, choice, gates)
        up = self.w[name + (".gate_up.weight" if c.get("gated", False) else ".up.weight")]
        y = torch.zeros_like(h)
        for e, down in enumerate(self.w[name + ".down.weight"]):
            y += gates[..., e:e + 1] * F.linear(self.unit(F.linear(h, up[e]), c), down)
        return y

    # ---- the encoder and the connector ----

    def vision(self, pixels):
        """[I, 3, R, R] -> features of patches [I, P, C]."""
        c = self.config["vision"]
        p, width = c["patch_size"], c["width"]
        x = F.conv2d(pixels, self.w["vision.patch.weight"].view(width, 3, p, p), self.w["vision.patch.bias"], stride=p)
        x = x.flatten(2).transpose(1, 2) + self.w["vision.pos"]
        for i in range(c["n_layers"]):
            x = self.block(x, f"vision.layers.{i}", c)
        return self.norm(x, "vision.norm", c["norm_eps"])

    def bottleneck(self, x, name):
        """A RegNet block of timm's, each convolution followed by a norm over channels; x [I, C, H, W]."""
        def conv1x1(y, part):
            return F.conv2d(y, self.w[f"{name}.{part}.weight"][:, :, None, None])

        def norm(y, part):
            return self.norm(y.permute(0, 2, 3, 1), f"{name}.{part}", 1e-6).permute(0, 3, 1, 2)

        n = self.w[name + ".conv2.weight"].shape[1]
        taps = self.w[name + ".conv2.weight"].t().reshape(n, 1, 3, 3)
        y = F.silu(norm(conv1x1(x, "conv1"), "norm1"))
        y = F.silu(norm(F.conv2d(y, taps, padding=1, groups=n), "norm2"))
        gate = torch.sigmoid(self.linear(F.silu(self.linear(y.mean((2, 3)), name + ".se1")), name + ".se2"))
        y = norm(conv1x1(y * gate[:, :, None, None], "conv3"), "norm3")
        if name + ".shortcut.weight" in self.w:
            x = norm(conv1x1(x, "shortcut"), "norm_shortcut")
        return F.silu(y + x)

    def connector(self, x):
        """[I, P, C] -> visual tokens [I, k, width of the decoder]."""
        c = self.config["connector"]
        I, P, width = x.shape
        grid, side = math.isqrt(P), math.isqrt(c["n_tokens"])
        if c["kind"] == "attnpool":
            heads = c["n_heads"] or self.config["vision"]["n_heads"]
            q0 = self.w["connector.queries"].expand(I, -1, -1)
            q = self.linear(self.norm(q0, "connector.norm_q", 1e-6), "connector.q")
            k, v = self.linear(self.norm(x, "connector.norm_x", 1e-6), "connector.kv").chunk(2, -1)
            q, k, v = (y.reshape(I, -1, heads, width // heads).transpose(1, 2) for y in (q, k, v))
            y = q0 + self.linear(self.attention(q, k, v), "connector.out")
            return self.linear(self.norm(y, "connector.norm_out", 1e-6), "connector.readout")
        if c["kind"] == "avgpool":
            x = F.adaptive_avg_pool2d(x.transpose(1, 2).reshape(I, width, grid, grid), side)
            return self.linear(x.flatten(2).transpose(1, 2), "connector.readout")
        if c["kind"] != "c_abstractor":
            raise ValueError(f"connector {c['kind']}: not understood")
        x = (x + self.w["connector.pos"]).transpose(1, 2).reshape(I, width, grid, grid)
        for i in range(c["depth"]):
            x = self.bottleneck(x, f"connector.before.{i}")
        x = F.adaptive_avg_pool2d(x, side)
        for i in range(c["depth"]):
            x = self.bottleneck(x, f"connector.after.{i}")
        x = F.silu(self.linear(x.flatten(2).transpose(1, 2), "connector.readout1"))
        return self.linear(x, "connector.readout2")

    # ---- the decoder ----

    def rotary_rates(self):
        c = self.config["decoder"]
        rate = c["rope_theta"] ** (-torch.arange(0, c["head_dim"], 2, dtype=torch.float64) / c["head_dim"])
        s = c.get("rope_scaling", {"type": "none"})
        if s["type"] == "linear":
            return rate / s["factor"]
        if s["type"] == "llama3":
            turns = s["original_positions"] * rate / (2 * math.pi)
            keep = (turns - s["low_freq_factor"]) / (s["high_freq_factor"] - s["low_freq_factor"])
            keep = keep.clamp(0, 1)
            return (1 - keep) * rate / s["factor"] + keep * rate
        return rate

    def logits(self, tokens, pixels):
        """tokens [T], pixels [I, 3, R, R] -> [T, V]; row t is of the token after t."""
        c = self.config["decoder"]
        tokens = torch.tensor(tokens)
        T, D = len(tokens), c["head_dim"]
        x = self.w["decoder.embed.weight"][tokens.clamp(min=0)]
        if len(pixels) > 0:
            x[tokens == IMAGE] = self.connector(self.vision(pixels)).flatten(0, 1)
        x, at, turn = x[None], torch.arange(T), None
        if c["positions"] == "learned":
            x = x + self.w["decoder.pos"][:T]
        else:
            angle = at[:, None] * self.rotary_rates()
            cos, sin = angle.cos().float(), angle.sin().float()

            def turn(y):
                a, b = y[..., :D // 2], y[..., D // 2:]
                return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

        mask = at[None, :] <= at[:, None]
        if c.get("sliding_window", 0) > 0:
            mask &= at[None, :] > at[:, None] - c["sliding_window"]
        for i in range(c["n_layers"]):
            x = self.block(x, f"decoder.layers.{i}", c, mask, turn)
        x = self.norm(x, "decoder.norm", c["norm_eps"])[0]
        return F.linear(x, self.w.get("decoder.head.weight", self.w["decoder.embed.weight"]))


def check(mm1, args, tokens, logits):
    with tempfile.TemporaryDirectory() as tmp:
        path = pathlib.Path(tmp) / "logits.safetensors"
        subprocess.run([mm1, "score", "-m", args.model, "-d", args.document, "--logits", path], check=True,
                       stdout=subprocess.DEVNULL)
        want = load_file(path)
    if want["tokens"].tolist() != tokens:
        sys.exit("the tokens differ")
    off, most = (logits - want["logits"]).abs().max().item(), want["logits"].abs().max().item()
    print(f"{len(tokens)} positions, {tokens.count(IMAGE)} of images; largest logit {most:.2f}, difference {off:.1e}")
    return 0 if off <= 1e-4 * most else 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("document")
    parser.add_argument("--check", metavar="MM1")
    args = parser.parse_args()
    model = Model(args.model)
    tokens, pixels = model.read(args.document)
    with torch.no_grad():
        logits = model.logits(tokens, pixels)
    if args.check:
        return check(args.check, args, tokens, logits)
    likely = logits.log_softmax(-1)
    for t in range(1, len(tokens)):  # what a document begins with is predicted from nothing
        if tokens[t] != IMAGE:
            print(f"{likely[t - 1, tokens[t]]:8.4f}  {model.tokenizer.decode([tokens[t]], skip_special_tokens=False)!r}")
    print("then:", ", ".join(f"{model.tokenizer.id_to_token(i)!r}" for i in likely[-1].topk(5).indices.tolist()))
    return 0


if __name__ == "__main__":
    sys.exit(main())

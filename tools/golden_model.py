#!/usr/bin/env python3
"""Makes golden files of whole models with PyTorch (1.13.1, numpy 1.24.2): forward, loss and every gradient.

    golden_model.py tests/data/model [CASE...]      writes golden_<case>.safetensors there

An implementation of its own, in terms of torch.nn.functional: pictures are NCHW, convolutions are conv2d, rotary
positions are products of complex numbers, attention is a softmax over an explicit mask.  What it shares with the C is
the names and shapes of the parameters (mm1's headers) and the definition of the model (the MM1 paper and, for the
C-Abstractor, Honeybee with timm's RegNet stage).  All is computed in f64 from values that f32 holds, and rounded to f32
at the end, so the files are more exact than what is tested with them.

Each file holds param.<name>, grad.<name>, the packed batch, and what is expected: visual tokens, hidden states, logits
and the loss of each position.  The metadata holds the configuration as lines "key=value" for the model's table of
fields, and the coefficient of the z-loss.  Building, running and testing mm1 needs none of this.
"""
import json
import math
import pathlib
import struct
import sys
import zlib

import numpy as np
import torch
import torch.nn.functional as F

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)

DTYPES = {"float32": "F32", "int32": "I32"}


def write_safetensors(path, arrays, metadata):
    header, data = {"__metadata__": metadata}, b""
    for name, array in arrays.items():
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": DTYPES[array.dtype.name], "shape": list(array.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    print(path, path.stat().st_size, "bytes")


# ---- the model ----

ACTS = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "silu": F.silu,
}


class Model:
    def __init__(self, config, rng):
        self.c = config
        self.rng = rng
        self.params = {}
        self.make()

    def has(self, name):
        return name in self.params

    def p(self, name):
        return self.params[name]

    def add(self, name, shape, std, mean=0.0):
        value = (mean + std * self.rng.standard_normal(shape)).astype(np.float32)
        self.params[name] = torch.tensor(value.astype(np.float64), requires_grad=True)

    def add_linear(self, name, rows, cols, bias=True):
        self.add(name + ".weight", (rows, cols), 1 / math.sqrt(cols))
        if bias:
            self.add(name + ".bias", (rows,), 0.2)

    def add_norm(self, name, n, bias=True):
        self.add(name + ".weight", (n,), 0.2, 1.0)
        if bias:
            self.add(name + ".bias", (n,), 0.2)

    def add_block(self, name, width, heads, kv_heads, head_dim, mlp, gated, bias, layer_norm, layer_scale=False):
        self.add_norm(name + ".norm1", width, layer_norm)
        self.add_linear(name + ".attn.qkv", (heads + 2 * kv_heads) * head_dim, width, bias)
        self.add_linear(name + ".attn.out", width, heads * head_dim, bias)
        self.add_norm(name + ".norm2", width, layer_norm)
        self.add_linear(name + (".mlp.gate_up" if gated else ".mlp.up"), 2 * mlp if gated else mlp, width, bias)
        self.add_linear(name + ".mlp.down", width, mlp, bias)
        if layer_scale:
            self.add(name + ".scale1", (width,), 0.3, 0.8)
            self.add(name + ".scale2", (width,), 0.3, 0.8)

    def add_bottleneck(self, name, n_in, n):
        squeezed = max(1, int(round(0.25 * n_in)))  # as timm has it: Python's round, to even
        self.add(name + ".conv1.weight", (n, n_in), 1 / math.sqrt(n_in))
        self.add_norm(name + ".norm1", n)
        self.add(name + ".conv2.weight", (9, n), 1 / 3)
        self.add_norm(name + ".norm2", n)
        self.add_linear(name + ".se1", squeezed, n)
        self.add_linear(name + ".se2", n, squeezed)
        self.add(name + ".conv3.weight", (n, n), 1 / math.sqrt(n))
        self.add_norm(name + ".norm3", n)
        if n_in != n:
            self.add(name + ".shortcut.weight", (n, n_in), 1 / math.sqrt(n_in))
            self.add_norm(name + ".norm_shortcut", n)

    def make(self):
        v, k, d = self.c["vision"], self.c["connector"], self.c["decoder"]
        grid, patch, w = v["image_size"] // v["patch_size"], 3 * v["patch_size"] ** 2, v["width"]
        self.add_linear("vision.patch", w, patch, v.get("patch_bias", True))
        if v.get("class_token"):
            self.add("vision.class_token", (1, w), 0.5)
        self.add("vision.pos", (grid * grid + v.get("class_token", 0), w), 0.5)
        if v.get("pre_norm"):
            self.add_norm("vision.pre_norm", w)
        for i in range(self.vision_depth()):
            self.add_block(f"vision.layers.{i}", w, v["n_heads"], v["n_heads"], w // v["n_heads"], v["mlp_width"],
                           v.get("gated", False), True, True, v.get("layer_scale", False))
        if v.get("feature_layer", -1) == -1:
            self.add_norm("vision.norm", w)

        if k["kind"] == "avgpool":
            self.add_linear("connector.readout", d["width"], w)
        elif k["kind"] == "attnpool":
            self.add("connector.queries", (k["n_tokens"], w), 1.0)
            for name in ("norm_q", "norm_x", "norm_out"):
                self.add_norm("connector." + name, w)
            self.add_linear("connector.q", w, w)
            self.add_linear("connector.kv", 2 * w, w)
            self.add_linear("connector.out", w, w)
            self.add_linear("connector.readout", d["width"], w)
        else:
            self.add("connector.pos", (grid * grid, w), 0.5)
            for i in range(k["depth"]):
                self.add_bottleneck(f"connector.before.{i}", w if i == 0 else k["hidden"], k["hidden"])
            for i in range(k["depth"]):
                self.add_bottleneck(f"connector.after.{i}", k["hidden"], k["hidden"])
            self.add_linear("connector.readout1", d["width"], k["hidden"])
            self.add_linear("connector.readout2", d["width"], d["width"])

        self.add("decoder.embed.weight", (d["vocab_size"], d["width"]), 0.7)
        if d["positions"] == "learned":
            self.add("decoder.pos", (d["max_positions"], d["width"]), 0.3)
        layer_norm = d["norm"] == "layernorm"
        for i in range(d["n_layers"]):
            self.add_block(f"decoder.layers.{i}", d["width"], d["n_heads"], d["n_kv_heads"], d["head_dim"],
                           d["mlp_width"], d["gated"], d["bias"], layer_norm)
        self.add_norm("decoder.norm", d["width"], layer_norm)
        if not d["tie_embeddings"]:
            self.add("decoder.head.weight", (d["vocab_size"], d["width"]), 1.5 / math.sqrt(d["width"]))

    def vision_depth(self):
        return self.c["vision"]["n_layers"] + 1 + self.c["vision"].get("feature_layer", -1)

    # -- layers --

    def linear(self, x, name):
        return F.linear(x, self.p(name + ".weight"), self.p(name + ".bias") if self.has(name + ".bias") else None)

    def norm(self, x, name, eps):
        w = self.p(name + ".weight")
        if self.has(name + ".bias"):
            return F.layer_norm(x, (x.shape[-1],), w, self.p(name + ".bias"), eps)
        return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + eps) * w

    def norm2d(self, x, name):
        """LayerNorm2d: over the channels of each pixel of x [I, C, H, W]."""
        x = F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), self.p(name + ".weight"), self.p(name + ".bias"), 1e-6)
        return x.permute(0, 3, 1, 2)

    @staticmethod
    def attend(q, k, v, mask):
        """q [B, H, T, D], k and v [B, Hkv, S, D], mask [B, T, S] of what is seen -> [B, T, H D]."""
        group = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[3])
        weights = scores.masked_fill(~mask[:, None], -1e300).softmax(-1) * mask[:, None]
        return (weights @ v).transpose(1, 2).flatten(2)

    def block(self, x, name, heads, kv_heads, head_dim, act, gated, eps, mask, turn=None):
        B, T, _ = x.shape
        qkv = self.linear(self.norm(x, name + ".norm1", eps), name + ".attn.qkv").view(B, T, -1, head_dim)
        q, k, v = (y.transpose(1, 2) for y in qkv.split([heads, kv_heads, kv_heads], 2))
        if turn is not None:
            q, k = turn(q), turn(k)
        scale = lambda y, part: y * self.p(f"{name}.{part}") if self.has(f"{name}.{part}") else y
        x = x + scale(self.linear(self.attend(q, k, v, mask), name + ".attn.out"), "scale1")
        h = self.norm(x, name + ".norm2", eps)
        if gated:
            gate, up = self.linear(h, name + ".mlp.gate_up").chunk(2, -1)
            h = ACTS[act](gate) * up
        else:
            h = ACTS[act](self.linear(h, name + ".mlp.up"))
        return x + scale(self.linear(h, name + ".mlp.down"), "scale2")

    def bottleneck(self, x, name):
        n = self.p(name + ".conv2.weight").shape[1]
        conv1x1 = lambda y, part: F.conv2d(y, self.p(f"{name}.{part}.weight")[:, :, None, None])
        y = F.silu(self.norm2d(conv1x1(x, "conv1"), name + ".norm1"))
        taps = self.p(name + ".conv2.weight").t().reshape(n, 1, 3, 3)
        y = F.silu(self.norm2d(F.conv2d(y, taps, padding=1, groups=n), name + ".norm2"))
        squeezed = y.mean((2, 3))
        gate = torch.sigmoid(self.linear(F.silu(self.linear(squeezed, name + ".se1")), name + ".se2"))
        y = self.norm2d(conv1x1(y * gate[:, :, None, None], "conv3"), name + ".norm3")
        if self.has(name + ".shortcut.weight"):
            x = self.norm2d(conv1x1(x, "shortcut"), name + ".norm_shortcut")
        return F.silu(y + x)

    # -- parts --

    def vision(self, pixels, mask=None):
        """pixels [I, 3, R, R] -> [I, P, C]; mask [I, P, P] of what is seen, all if there is none."""
        v = self.c["vision"]
        p, w = v["patch_size"], v["width"]
        kernel = self.p("vision.patch.weight").view(w, 3, p, p)
        bias = self.p("vision.patch.bias") if self.has("vision.patch.bias") else None
        x = F.conv2d(pixels, kernel, bias, stride=p).flatten(2).transpose(1, 2)
        if v.get("class_token"):
            x = torch.cat([self.p("vision.class_token").expand(x.shape[0], 1, w), x], 1)
        x = x + self.p("vision.pos")
        if v.get("pre_norm"):
            x = self.norm(x, "vision.pre_norm", v["norm_eps"])
        if mask is None:
            mask = torch.ones(x.shape[0], x.shape[1], x.shape[1], dtype=torch.bool)
        for i in range(self.vision_depth()):
            x = self.block(x, f"vision.layers.{i}", v["n_heads"], v["n_heads"], w // v["n_heads"], v["act"],
                           v.get("gated", False), v["norm_eps"], mask)
        x = x[:, 1:] if v.get("class_token") else x
        return self.norm(x, "vision.norm", v["norm_eps"]) if self.has("vision.norm.weight") else x

    def connector(self, x):
        """x [I, P, C] -> [I, k, width of the decoder]."""
        k = self.c["connector"]
        I, P, w = x.shape
        grid, side = math.isqrt(P), math.isqrt(k["n_tokens"])
        if k["kind"] == "avgpool":
            x = F.adaptive_avg_pool2d(x.transpose(1, 2).reshape(I, w, grid, grid), side)
            return self.linear(x.flatten(2).transpose(1, 2), "connector.readout")
        if k["kind"] == "attnpool":
            heads = k["n_heads"] or self.c["vision"]["n_heads"]
            split = lambda y: y.view(I, y.shape[1], heads, w // heads).transpose(1, 2)
            queries = self.p("connector.queries").expand(I, -1, -1)
            q = self.linear(self.norm(queries, "connector.norm_q", 1e-6), "connector.q")
            key, value = self.linear(self.norm(x, "connector.norm_x", 1e-6), "connector.kv").chunk(2, -1)
            mask = torch.ones(I, k["n_tokens"], P, dtype=torch.bool)
            y = queries + self.linear(self.attend(split(q), split(key), split(value), mask), "connector.out")
            return self.linear(self.norm(y, "connector.norm_out", 1e-6), "connector.readout")
        x = (x + self.p("connector.pos")).transpose(1, 2).reshape(I, w, grid, grid)
        for i in range(k["depth"]):
            x = self.bottleneck(x, f"connector.before.{i}")
        x = F.adaptive_avg_pool2d(x, side)
        for i in range(k["depth"]):
            x = self.bottleneck(x, f"connector.after.{i}")
        x = x.flatten(2).transpose(1, 2)
        return self.linear(F.silu(self.linear(x, "connector.readout1")), "connector.readout2")

    def visual(self, pixels):
        return self.connector(self.vision(pixels)).flatten(0, 1) if len(pixels) > 0 else None

    def decoder(self, b, visual):
        """Batch b of [B, T] and visual tokens -> hidden states [B, T, C]."""
        d = self.c["decoder"]
        x = self.p("decoder.embed.weight")[b["token"]]
        if visual is not None:
            x = torch.where((b["visual"] >= 0)[:, :, None], visual[b["visual"].clamp(min=0)], x)
        turn = None
        if d["positions"] == "learned":
            x = x + self.p("decoder.pos")[b["position"]]
        else:
            half = d["head_dim"] // 2
            rate = d["rope_theta"] ** (-torch.arange(half) / half)
            angle = b["position"][:, None, :, None] * rate

            def turn(y):
                z = torch.complex(y[..., :half], y[..., half:]) * torch.polar(torch.ones_like(angle), angle)
                return torch.cat([z.real, z.imag], -1)

        at = torch.arange(x.shape[1])
        mask = (at >= b["lo"][:, :, None]) & (at < b["hi"][:, :, None])
        for i in range(d["n_layers"]):
            x = self.block(x, f"decoder.layers.{i}", d["n_heads"], d["n_kv_heads"], d["head_dim"], d["act"],
                           d["gated"], d["norm_eps"], mask, turn)
        return self.norm(x, "decoder.norm", d["norm_eps"])

    def logits(self, hidden):
        return F.linear(hidden, self.p("decoder.head.weight" if self.has("decoder.head.weight")
                                       else "decoder.embed.weight"))


# ---- the batch ----

IMAGE = -1


def pack(rows, T, k):
    """rows: for each row its examples, each a list of (token or IMAGE, trained on)."""
    names = ("token", "visual", "target", "position", "lo", "hi", "example")
    b = {n: np.full((len(rows), T), 0 if n in ("token", "position", "lo", "hi") else -1, dtype=np.int32)
         for n in names}
    next_visual = 0
    for r, examples in enumerate(rows):
        at = 0
        for e, example in enumerate(examples):
            flat = []
            for token, trained in example:
                flat += [(IMAGE, False)] * k if token == IMAGE else [(token, trained)]
            start = at
            for i, (token, _) in enumerate(flat):
                if token == IMAGE:
                    b["visual"][r, at] = next_visual
                    next_visual += 1
                else:
                    b["token"][r, at] = token
                if i + 1 < len(flat) and flat[i + 1][1]:
                    b["target"][r, at] = flat[i + 1][0]
                b["position"][r, at] = i
                b["lo"][r, at], b["hi"][r, at] = start, at + 1
                b["example"][r, at] = e
                at += 1
        assert at <= T, at
    return b, next_visual // k


def random_rows(rng, vocab, shapes):
    """shapes: rows of examples of parts: a number of tokens, "image", or a negative number of tokens not trained on."""
    rows = []
    for examples in shapes:
        rows.append([])
        for parts in examples:
            example = [(0, False)]
            for part in parts:
                example += [(IMAGE, False)] if part == "image" else \
                    [(int(rng.integers(1, vocab)), part > 0) for _ in range(abs(part))]
            rows[-1].append(example + [(0, True)])
    return rows


def losses(model, b, visual):
    hidden = model.decoder(b, visual)
    logits = model.logits(hidden)
    nll = F.cross_entropy(logits.flatten(0, 1), b["target"].flatten(), ignore_index=-1, reduction="none")
    return hidden, logits, nll.view(b["target"].shape)


def check_unpacked(model, b, visual, nll):
    """Each example alone gives the losses that it has in the pack."""
    for r in range(b["token"].shape[0]):
        for e in range(int(b["example"][r].max()) + 1):
            at = (b["example"][r] == e).nonzero().flatten()
            alone = {n: b[n][r, at][None] for n in b}
            alone["lo"], alone["hi"] = torch.zeros_like(alone["lo"]), alone["position"] + 1
            assert torch.allclose(losses(model, alone, visual)[2][0], nll[r, at], atol=1e-12, rtol=0)


# ---- the cases ----

SWITCHES = {"class_token", "patch_bias", "pre_norm", "layer_scale", "gated", "cut_edge", "feature_layer"}


def case(vision=None, connector=None, decoder=None, z_coef=0.0, T=24, rows=None):
    c = {
        "vision": dict(image_size=12, patch_size=3, width=16, n_layers=2, n_heads=2, mlp_width=22, act="gelu",
                       norm_eps=1e-6),
        "connector": dict(kind="avgpool", n_tokens=4, hidden=16, depth=1, n_heads=0),
        "decoder": dict(vocab_size=37, width=20, n_layers=2, n_heads=5, n_kv_heads=5, head_dim=4, mlp_width=27,
                        norm="rmsnorm", act="silu", gated=True, bias=False, tie_embeddings=True, positions="rope",
                        max_positions=32, rope_theta=10000.0, norm_eps=1e-5),
    }
    for part, changes in (("vision", vision), ("connector", connector), ("decoder", decoder)):
        assert set(changes or {}) <= set(c[part]) | (SWITCHES if part == "vision" else set())
        c[part].update(changes or {})
    return c, z_coef, T, rows or [[["image", 5], [4]], [[3, "image", 2, "image", -2, 2]]]


SMALL = dict(vocab_size=13, width=8, n_layers=1, n_heads=2, n_kv_heads=2, mlp_width=9)

CASES = {
    "avgpool": case(),
    "attnpool": case(vision=dict(image_size=9, width=12, act="quick_gelu"), connector=dict(kind="attnpool", n_heads=4),
                     decoder=dict(tie_embeddings=False, rope_theta=500.0), z_coef=0.01),
    # 5 x 5 patches to 3 x 3 tokens: bins overlap.  round(18 / 4) is 4.
    "c_abstractor": case(vision=dict(image_size=15, width=18, n_layers=1),
                         connector=dict(kind="c_abstractor", n_tokens=9, hidden=14, depth=2),
                         decoder=dict(n_layers=1), T=32, rows=[[["image", 5], [6]], [[2, "image", 2, "image", 4]]]),
    "gpt2": case(connector=dict(n_tokens=9), T=30,
                 decoder=dict(vocab_size=41, norm="layernorm", act="gelu_tanh", gated=False, bias=True,
                              positions="learned", max_positions=30, mlp_width=33, n_heads=2, n_kv_heads=2,
                              head_dim=10)),
    # Query heads in threes on each key head, of a width that has nothing to do with the model's; no shortcut layers.
    "gqa": case(vision=dict(width=12, n_heads=3, n_layers=1, mlp_width=17, act="gelu_tanh"),
                connector=dict(kind="c_abstractor", hidden=12),
                decoder=dict(n_heads=6, n_kv_heads=2, head_dim=6, width=22, tie_embeddings=False, mlp_width=19),
                rows=[[["image", "image", 3], [6]], [[5]], [[-3, 2, "image", 1], [1], [2]]]),
    # The encoder of DINOv2 with a gated MLP, of a picture that is no multiple of the patch size.
    "layer_scale": case(vision=dict(class_token=True, layer_scale=True, gated=True, act="silu", cut_edge=True,
                                    image_size=13, mlp_width=18, n_layers=1), decoder=SMALL),
    # That of CLIP, as LLaVA uses it.
    "pre_norm": case(vision=dict(class_token=True, patch_bias=False, pre_norm=True, feature_layer=-2, n_layers=2,
                                 act="quick_gelu", norm_eps=1e-5), decoder=SMALL),
    "text_only": case(vision=dict(n_layers=0, width=8, image_size=6, patch_size=3),
                      decoder=dict(n_heads=4, n_kv_heads=1, head_dim=10, norm="layernorm", act="gelu", width=26),
                      z_coef=0.05, rows=[[[5], [7], [3]], [[22]], [[2]]]),
}


def make(folder, name):
    config, z_coef, T, shapes = CASES[name]
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    model = Model(config, rng)
    k, R = config["connector"]["n_tokens"], config["vision"]["image_size"]
    batch, n_images = pack(random_rows(rng, config["decoder"]["vocab_size"], shapes), T, k)
    pixels = rng.uniform(-1.5, 1.5, (n_images, 3, R, R)).astype(np.float32)
    b = {n: torch.tensor(a.astype(np.int64)) for n, a in batch.items()}

    visual = model.visual(torch.tensor(pixels.astype(np.float64)))
    hidden, logits, nll = losses(model, b, visual)
    check_unpacked(model, b, visual, nll)
    live = b["target"] >= 0
    z = logits.logsumexp(-1)[live].pow(2).sum()
    ((nll.sum() + z_coef * z) / live.sum()).backward()

    f32 = lambda x: x.detach().numpy().astype(np.float32)
    arrays = {"batch." + n: a for n, a in batch.items()}
    arrays["batch.pixels"] = pixels
    arrays["expect.hidden"], arrays["expect.logits"], arrays["expect.nll"] = f32(hidden), f32(logits), f32(nll)
    if visual is not None:
        arrays["expect.visual"] = f32(visual)
    for param, value in model.params.items():
        arrays["param." + param] = f32(value)
        unused = value.grad is None
        assert unused == (n_images == 0 and not param.startswith("decoder.")), param
        if not unused:
            assert value.grad.norm() > 1e-5, (param, value.grad.norm())
            arrays["grad." + param] = f32(value.grad)
    lines = [f"{part}.{key}={str(value).lower()}" for part in config for key, value in config[part].items()]
    write_safetensors(pathlib.Path(folder) / f"golden_{name}.safetensors", arrays,
                      {"config": "\n".join(lines), "z_coef": repr(z_coef)})


if __name__ == "__main__":
    for case_name in sys.argv[2:] or CASES:
        make(sys.argv[1], case_name)

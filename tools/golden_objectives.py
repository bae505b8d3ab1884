#!/usr/bin/env python3
"""Makes the golden file of what image encoders are trained by, with PyTorch: losses and every gradient.

    golden_objectives.py tests/data/train      writes golden_objectives.safetensors there

nce: the contrastive loss of pairs, some of which are the same thing twice, as cross-entropies over explicit matrices.
aim: a small encoder with a prefix-causal mask, its head, and the mean square of normalised patches.  Layers come from
golden_model.py, where the conventions of the file are told.  All is computed in f64 and rounded to f32 at the end.
"""
import pathlib
import sys

import numpy as np
import torch
import torch.nn.functional as F

from golden_model import Model, write_safetensors

OUT = {}


def put(name, x):
    OUT[name] = x.detach().numpy().astype(np.float32)


def nce(name, keys, log_scale, seed):
    """Rows and columns of the logits are softmaxes in which other pairs of the same key do not stand."""
    rng = np.random.default_rng(seed)
    n, D = len(keys), 6
    a, b = (torch.tensor(rng.standard_normal((n, D)).astype(np.float32).astype(np.float64), requires_grad=True)
            for _ in range(2))
    t = torch.tensor(log_scale, requires_grad=True)
    key = torch.tensor(keys)
    hidden = (key[:, None] == key[None, :]) & ~torch.eye(n, dtype=torch.bool)
    logits = (t.exp() * a @ b.T).masked_fill(hidden, -torch.inf)
    own = torch.arange(n)
    loss = (F.cross_entropy(logits, own, reduction="none") + F.cross_entropy(logits.T, own, reduction="none")) / 2
    loss.mean().backward()
    for part, x in dict(a=a, b=b, da=a.grad, db=b.grad, loss=loss, log_scale=t[None], d_log_scale=t.grad[None]).items():
        put(f"{name}/{part}", x)
    OUT[f"{name}/key"] = np.array(keys, dtype=np.int32)


class Aim(Model):
    def make(self):
        v = self.c["vision"]
        w, patch = v["width"], 3 * v["patch_size"] ** 2
        self.add_linear("vision.patch", w, patch)
        self.add("vision.pos", ((v["image_size"] // v["patch_size"]) ** 2, w), 0.5)
        for i in range(v["n_layers"]):
            self.add_block(f"vision.layers.{i}", w, v["n_heads"], v["n_heads"], w // v["n_heads"], v["mlp_width"],
                           False, True, True)
        self.add_norm("vision.norm", w)
        self.add_linear("pixel_head.up", self.c["pixel_head"]["width"], w)
        self.add_linear("pixel_head.down", patch, self.c["pixel_head"]["width"])


def aim():
    c = dict(vision=dict(image_size=12, patch_size=4, width=8, n_layers=2, n_heads=2, mlp_width=12, act="gelu",
                         norm_eps=1e-6), pixel_head=dict(width=10))
    rng = np.random.default_rng(11)
    m = Aim(c, rng)
    prefixes, I, P, p = [1, 4, 8], 3, 9, 4
    pixels = rng.standard_normal((I, 3, 12, 12)).astype(np.float32)
    pixels[1, :, 8:, 8:] = 0.75  # the last patch of one picture is of one colour
    x = torch.tensor(pixels.astype(np.float64))
    i, j = torch.arange(P)[:, None], torch.arange(P)[None, :]
    mask = torch.stack([(j <= i) | (j < prefix) for prefix in prefixes])
    features = m.vision(x, mask)
    y = m.linear(F.gelu(m.linear(features, "pixel_head.up")), "pixel_head.down")
    target = F.unfold(x, p, stride=p).transpose(1, 2)
    target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()
    losses = torch.cat([F.mse_loss(y[k, prefix - 1:-1], target[k, prefix:], reduction="none").mean(-1)
                        for k, prefix in enumerate(prefixes)])
    losses.mean().backward()
    OUT["aim/pixels"] = pixels
    OUT["aim/prefix"] = np.array(prefixes, dtype=np.int32)
    put("aim/features", features)
    put("aim/loss", losses)
    for name, param in m.params.items():
        put("aim/param." + name, param)
        put("aim/grad." + name, param.grad)
    lines = [f"{part}.{k}={v}" for part, keys in c.items() for k, v in keys.items()]
    return "\n".join(["kind=aim"] + lines)


if __name__ == "__main__":
    nce("nce.distinct", list(range(9)), 1.2, 3)
    nce("nce.twins", [4, 1, 4, 2, 3, 1, 1, 7], 0.3, 5)
    config = aim()
    write_safetensors(pathlib.Path(sys.argv[1]) / "golden_objectives.safetensors", OUT,
                      {"made_by": "tools/golden_objectives.py", "aim": config})

#!/usr/bin/env python3
"""Makes golden files of the operators and of AdamW with PyTorch (1.13.1, numpy 1.24.2), in f64, rounded to f32.

    golden_ops.py tests/data/tensor      writes ops_golden.safetensors and ops_adamw.safetensors there

ops_golden holds cases "<operator>.<variant>": <case>/dims are the integers that tests/tensor/test_ops_golden.c hands to
the operator, <case>/<input> its inputs, <case>/y the result, <case>/dy a gradient of it and <case>/d.<input> what
follows for each input.  ops_adamw holds ten steps of torch.optim.AdamW with clipping, warm-up and cosine decay.
Building, running and testing mm1 needs none of this.
"""
import math
import pathlib
import sys
import zlib

import numpy as np
import torch
import torch.nn.functional as F

sys.dont_write_bytecode = True
from golden_model import ACTS, write_safetensors

ACT_NAMES = ["none", "relu", "gelu", "gelu_tanh", "quick_gelu", "silu", "sigmoid"]
OUT = {}


def act(name):
    return {"none": lambda x: x, "sigmoid": torch.sigmoid}.get(name) or ACTS[name]


def f32(x):
    return x.detach().numpy().astype(np.float32)


class Case:
    def __init__(self, name, *dims):
        self.name, self.inputs = name, {}
        self.rng = np.random.default_rng(zlib.crc32(name.encode()))
        OUT[name + "/dims"] = np.array(dims, dtype=np.int32)

    def real(self, name, *shape, scale=1.0, mean=0.0):
        value = (mean + scale * self.rng.standard_normal(shape)).astype(np.float32)
        OUT[f"{self.name}/{name}"] = value
        self.inputs[name] = torch.tensor(value.astype(np.float64), requires_grad=True)
        return self.inputs[name]

    def ints(self, name, values):
        OUT[f"{self.name}/{name}"] = np.array(values, dtype=np.int32)
        return torch.tensor(np.array(values, dtype=np.int64))

    def finish(self, y, loss=None):
        OUT[self.name + "/y"] = f32(y)
        if loss is None:
            dy = self.rng.standard_normal(tuple(y.shape)).astype(np.float32)
            OUT[self.name + "/dy"] = dy
            loss = (y * torch.tensor(dy.astype(np.float64))).sum()
        loss.backward()
        for name, x in self.inputs.items():
            OUT[f"{self.name}/d.{name}"] = f32(x.grad)


def linear(variant, N, K, M, a="none", bias=True, residual=True):
    c = Case("linear." + variant, ACT_NAMES.index(a))
    y = F.linear(c.real("x", N, K), c.real("w", M, K, scale=K ** -0.5), c.real("b", M) if bias else None)
    y = act(a)(y)
    c.finish(y + c.real("residual", N, M) if residual else y)


def norm(variant, N, C, kind, bias):
    c = Case("norm." + variant, kind)
    x, w = c.real("x", N, C, mean=0.5), c.real("w", C, mean=1, scale=0.3)
    if kind == 1:
        y = F.layer_norm(x, (C,), w, c.real("b", C) if bias else None, 1e-5)
    else:
        y = x * torch.rsqrt((x * x).mean(1, keepdim=True) + 1e-5) * w
    c.finish(y)


def qk_norm(variant, N, H, Hkv, D, rest, full):
    wq, wk = H * D, Hkv * D
    c = Case("qk_norm." + variant, wq, wk)
    x = c.real("x", N, wq + wk + rest, mean=0.5)
    weights = c.real("q_w", wq if full else D, mean=1, scale=0.3), c.real("k_w", wk if full else D, mean=1, scale=0.3)
    parts = []
    for part, w in zip(x.split([wq, wk, rest], 1), weights):
        heads = part.reshape(N, -1, w.shape[0])
        parts.append((heads * torch.rsqrt((heads * heads).mean(2, keepdim=True) + 1e-5) * w).reshape(N, -1))
    c.finish(torch.cat([*parts, x[:, wq + wk:]], 1))


def attention(variant, B, T, S, H, Hkv, D, lo, hi, fused=None, position=None, pad=(0, 0, 0)):
    """fused: the name of what is one tensor: "qkv", "kv" or "same" (q, k and v are the same columns)."""
    wq, wk = H * D, Hkv * D
    cols = {"qkv": (0, wq, wq + wk), "kv": (0, 0, wk), "same": (0, 0, 0)}.get(fused, pad)
    c = Case("attention." + variant, B, T, S, H, Hkv, D, *cols, int(position is not None))
    if fused == "qkv":
        q = k = v = c.real("q", B * T, wq + 2 * wk)
    elif fused == "kv":
        q = c.real("q", B * T, wq)
        k = v = c.real("k", B * S, 2 * wk)
    elif fused == "same":
        q = k = v = c.real("q", B * T, wq)
    else:
        q, k, v = (c.real(n, B * rows, w + 2 * extra)
                   for n, rows, w, extra in (("q", T, wq, pad[0]), ("k", S, wk, pad[1]), ("v", S, wk, pad[2])))
    lo, hi = c.ints("lo", lo), c.ints("hi", hi)
    q = q[:, cols[0]:cols[0] + wq].view(B, T, H, D)
    k = k[:, cols[1]:cols[1] + wk].view(B, S, Hkv, D)
    v = v[:, cols[2]:cols[2] + wk].view(B, S, Hkv, D)
    if position is not None:
        angle = c.ints("position", position)[:, :, None, None] * 100.0 ** (-torch.arange(D // 2) * 2 / D)

        def turn(x):
            z = torch.complex(x[..., :D // 2], x[..., D // 2:]) * torch.exp(1j * angle)
            return torch.cat([z.real, z.imag], -1)

        q, k = turn(q), turn(k)
    group = H // Hkv
    scores = torch.einsum("bthd,bshd->bhts", q, k.repeat_interleave(group, 2)) / math.sqrt(D)
    at = torch.arange(S)
    seen = ((at >= lo[:, :, None]) & (at < hi[:, :, None]))[:, None]
    weights = scores.masked_fill(~seen, -1e300).softmax(-1) * seen
    c.finish(torch.einsum("bhts,bshd->bthd", weights, v.repeat_interleave(group, 2)).reshape(B * T, wq))


def packed(*rows):
    """rows of lengths of examples; a negative length is padding."""
    lo, hi, position = [], [], []
    for row in rows:
        starts = [sum(abs(n) for n in row[:i]) for i in range(len(row))]
        span = [(s, i) if n > 0 else None for s, n in zip(starts, row) for i in range(abs(n))]
        lo.append([p[0] if p else 0 for p in span])
        hi.append([p[0] + p[1] + 1 if p else 0 for p in span])
        position.append([p[1] if p else 0 for p in span])
    return dict(lo=lo, hi=hi), position


def embed(variant, V, C, ids, n_visual=0, visual_row=None):
    c = Case("embed." + variant)
    y = F.embedding(c.ints("id", ids), c.real("table", V, C))
    if visual_row is not None:
        row = c.ints("visual_row", visual_row)
        y = torch.where((row >= 0)[:, None], c.real("visual", n_visual, C)[row.clamp(min=0)], y)
    c.finish(y)


def dwconv(variant, I, H, W, C):
    c = Case("dwconv." + variant, I, H, W)
    x, w = c.real("x", I * H * W, C), c.real("w", 9, C)
    y = F.conv2d(x.view(I, H, W, C).permute(0, 3, 1, 2), w.t().reshape(C, 1, 3, 3), padding=1, groups=C)
    c.finish(y.permute(0, 2, 3, 1).reshape(I * H * W, C))


def pool(variant, I, H, W, C, h, w):
    c = Case("pool." + variant, I, H, W, h, w)
    y = F.adaptive_avg_pool2d(c.real("x", I * H * W, C).view(I, H, W, C).permute(0, 3, 1, 2), (h, w))
    c.finish(y.permute(0, 2, 3, 1).reshape(I * h * w, C))


def xent(variant, N, C, V, scale, z_coef, spread):
    c = Case("xent." + variant)
    OUT[c.name + "/coefs"] = np.array([scale, z_coef], dtype=np.float32)
    scale, z_coef = (float(v) for v in OUT[c.name + "/coefs"])
    target = c.rng.integers(0, V, N)
    target[[0, 3, N - 1]] = -1
    target = c.ints("target", target)
    logits = c.real("x", N, C, scale=spread) @ c.real("w", V, C).t()
    nll = F.cross_entropy(logits, target, ignore_index=-1, reduction="none")
    c.finish(nll, scale * (nll.sum() + z_coef * logits.logsumexp(1)[target >= 0].pow(2).sum()))


def moe(variant, N, K, Fh, M, E, k, a="silu", gated=True, normalize=True, capacity=0.0, coefs=(0.0, 0.0), T=0,
        example=None, residual=True, steep=1.0):
    """T: rows of a group; 0: as outside of training.  Every expert computes all rows; a mask picks what counts."""
    c = Case("moe." + variant, k, ACT_NAMES.index(a), gated, normalize, T)
    x, router = c.real("x", N, K), c.real("router", E, K, scale=steep * K ** -0.5)
    up, down = c.real("up", E, (2 if gated else 1) * Fh, K, scale=K ** -0.5), c.real("down", E, M, Fh, scale=Fh ** -0.5)
    real = np.ones(N, dtype=bool) if example is None else np.array(example) >= 0
    if example is not None:
        c.ints("example", example)
    OUT[c.name + "/coefs"] = np.array([capacity, *coefs], dtype=np.float32)
    logits = x @ router.T
    p = logits.softmax(1)
    gates, choice = p.topk(k, dim=1)
    gates = gates / gates.sum(1, keepdim=True) if normalize else gates
    taken, groups = np.zeros((N, k)), [range(i, min(i + T, N)) for i in range(0, N, T)] if T > 0 else [range(N)]
    balance = torch.zeros((), dtype=torch.float64)
    for rows in groups:
        rows = [i for i in rows if real[i]]
        room = [max(1, int(capacity * len(rows) / E)) if capacity > 0 else N] * E
        for j in range(k):
            for i in rows:
                e = int(choice[i, j])
                taken[i, j] = room[e] > 0
                room[e] -= 1
        if rows:
            share = torch.bincount(choice[rows, 0], minlength=E).double() / len(rows)
            balance = balance + len(rows) / real.sum() * E * (share * p[rows].mean(0)).sum()
    z = logits[real].logsumexp(1).pow(2).mean()
    y = torch.zeros(N, M, dtype=torch.float64)
    for e in range(E):
        u = x @ up[e].T
        hidden = act(a)(u[:, :Fh]) * u[:, Fh:] if gated else act(a)(u)
        weight = (gates * torch.tensor(taken) * (choice == e)).sum(1, keepdim=True)
        y = y + weight * (hidden @ down[e].T)
    y = y + c.real("residual", N, M) if residual else y
    dy = c.rng.standard_normal((N, M)).astype(np.float32)
    OUT[c.name + "/dy"] = dy
    OUT[c.name + "/said"] = np.array([balance.item(), z.item(), real.sum() * k, real.sum() * k - taken.sum()],
                                     dtype=np.float32)
    c.finish(y, (y * torch.tensor(dy.astype(np.float64))).sum() + coefs[0] * balance + coefs[1] * z)


def ops():
    for a in ACT_NAMES:
        linear(a, 7, 13, 11, a)
        c = Case("act." + a, ACT_NAMES.index(a))
        c.finish(act(a)(c.real("x", 53, scale=3)))
    linear("plain", 5, 9, 6, bias=False, residual=False)
    linear("bias", 1, 9, 17, "gelu", residual=False)
    linear("residual", 33, 35, 30, "silu", bias=False)
    linear("thin", 9, 1, 1, "gelu")
    norm("rms", 19, 37, 0, False)
    norm("rms_one", 1, 5, 0, False)
    norm("layer", 35, 19, 1, True)
    norm("layer_no_bias", 3, 41, 1, False)
    qk_norm("head", 19, 3, 1, 6, 7, False)
    qk_norm("full", 18, 2, 1, 5, 3, True)
    qk_norm("no_values", 1, 2, 2, 3, 0, False)
    for a in ("silu", "gelu", "gelu_tanh", "relu"):
        c = Case("glu." + a, ACT_NAMES.index(a))
        gate, up = c.real("x", 5, 26).chunk(2, 1)
        c.finish(act(a)(gate) * up)
    c = Case("add.odd")
    c.finish(c.real("a", 3, 17) + c.real("b", 3, 17))
    c = Case("add.twice", 1)
    a = c.real("a", 3, 17)
    c.finish(a + a)
    c = Case("add_rows.three", 3)
    c.finish((c.real("x", 15, 7).view(3, 5, 7) + c.real("r", 5, 7)).view(15, 7))
    c = Case("add_rows.alone", 4)
    c.finish(c.real("r", 5, 7).repeat(4, 1))

    c = Case("scale.plain")
    c.finish(c.real("x", 19, 11) * c.real("s", 11))
    c = Case("scale.residual")
    c.finish(c.real("x", 7, 37) * c.real("s", 37) + c.real("residual", 7, 37))

    mask, position = packed([4, 5, -2], [11])
    attention("packed_rope_gqa", 2, 11, 11, 4, 2, 6, **mask, fused="qkv", position=position)
    mask, _ = packed([13], [6, 7], [-13])
    attention("packed_mqa", 3, 13, 13, 3, 1, 5, **mask, fused="qkv")
    attention("cross", 2, 4, 9, 3, 3, 7, np.zeros((2, 4)), np.full((2, 4), 9), fused="kv")
    attention("apart", 2, 5, 6, 4, 2, 3, [[0, 1, 2, 0, 4], [0, 0, 3, 5, 2]], [[6, 3, 6, 1, 5], [1, 0, 6, 6, 2]],
              pad=(3, 2, 1))
    mask, position = packed([5, 4])
    attention("same", 1, 9, 9, 2, 2, 4, **mask, fused="same")
    attention("apart_rope", 1, 9, 9, 2, 1, 4, **mask, position=position)
    mask, position = packed([70, 80])
    attention("long", 1, 150, 150, 2, 1, 4, **mask, fused="qkv", position=position)

    embed("spliced", 11, 9, [3, 3, 0, 0, 0, 10, 3, 1, 0, 0, 7, 2, 3, 0], 4, [-1, -1, 2, 0, 1, -1, -1, -1, 2, -1, -1,
                                                                              -1, -1, 0])
    embed("plain", 6, 70, [5, 0, 5, 5, 1])
    dwconv("odd", 3, 5, 4, 9)
    dwconv("many", 11, 2, 3, 5)
    dwconv("one", 2, 1, 1, 3)
    dwconv("row", 1, 1, 6, 17)
    pool("overlap", 2, 27, 27, 3, 12, 12)
    pool("odd", 9, 7, 5, 10, 3, 4)
    pool("up", 1, 3, 2, 3, 5, 3)
    pool("all", 2, 3, 5, 19, 1, 1)
    c = Case("gate.three", 3)
    c.finish((c.real("x", 15, 11).view(3, 5, 11) * c.real("g", 3, 11)[:, None]).view(15, 11))
    xent("plain", 17, 13, 29, 0.37, 0.0, 0.5)
    xent("z", 17, 13, 29, 0.37, 0.1, 0.5)
    xent("steep", 5, 8, 33, 1.0, 0.01, 8.0)
    moe("top2", 29, 9, 7, 9, 5, 2)
    moe("top8_of_64", 19, 5, 3, 5, 64, 8, normalize=False)
    moe("plain_units", 17, 6, 10, 5, 4, 2, a="gelu", gated=False, residual=False)
    moe("one", 13, 7, 6, 7, 1, 1)
    moe("losses", 26, 9, 6, 9, 6, 2, coefs=(0.7, 0.3), T=8)
    moe("padding", 24, 9, 6, 9, 4, 2, coefs=(0.7, 0.3), T=12, example=[0] * 7 + [1] * 3 + [-1] * 14, steep=2.0)
    moe("capacity", 40, 9, 6, 9, 4, 2, coefs=(0.5, 0.1), T=20, capacity=1.0,
        example=[0] * 19 + [-1] + [0] * 5 + [2] * 9 + [-1] * 6, steep=3.0)
    moe("top1_full", 31, 8, 5, 8, 3, 1, a="relu", normalize=False, coefs=(0.2, 0.0), T=31, capacity=0.5, steep=2.0)
    c = Case("patchify.two", 2, 12, 3)
    pixels = c.rng.standard_normal((2, 3, 12, 12)).astype(np.float32)
    OUT[c.name + "/pixels"] = pixels
    OUT[c.name + "/y"] = F.unfold(torch.tensor(pixels), 3, stride=3).transpose(1, 2).reshape(32, 27).numpy()


def adamw():
    """Ten steps; clip, then AdamW with a rate for each group, decay for matrices only."""
    out, settings = {}, dict(n_steps=10, lr_peak=3e-2, lr_final=0.1, lr_warmup_steps=3, lr_vision=0.5,
                             lr_connector=2.0, lr_decoder=1.0, weight_decay=0.3, beta1=0.9, eps=1e-8, clip_norm=1.0)
    table = {"vision.w": ((5, 7), 0.5, True), "vision.b": ((5,), 0.5, False), "connector.w": ((3, 11), 2.0, True),
             "decoder.w": ((9, 4), 1.0, True), "decoder.norm": ((17,), 1.0, False)}
    for run, beta2 in (("a", 0.95), ("b", 0.999)):
        rng = np.random.default_rng(8)
        params = {n: torch.tensor(rng.standard_normal(s).astype(np.float32).astype(np.float64), requires_grad=True)
                  for n, (s, _, _) in table.items()}
        optimizer = torch.optim.AdamW([dict(params=[p], lr=settings["lr_peak"] * table[n][1],
                                            weight_decay=settings["weight_decay"] * table[n][2])
                                       for n, p in params.items()], betas=(settings["beta1"], beta2),
                                      eps=settings["eps"])
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda i: (i + 1) / 3 if i + 1 < 3 else 0.55 + 0.45 * math.cos(math.pi * (i + 1 - 3) / 7))
        for n, p in params.items():
            out[f"{run}/start.{n}"] = f32(p)
        for step in range(10):
            norm = 0.0
            for n, p in params.items():
                # Some steps are clipped, some are not, one is all but zero.
                g = (rng.standard_normal(p.shape) * [0.3, 0.02, 1e-7, 2, 0.05][step % 5]).astype(np.float32)
                out[f"{run}/grad.{step}.{n}"] = g
                p.grad = torch.tensor(g.astype(np.float64))
                norm += float(p.grad.pow(2).sum())
            out[f"{run}/norm.{step}"] = np.array([math.sqrt(norm)], dtype=np.float32)
            for p in params.values():
                p.grad *= min(1.0, settings["clip_norm"] / (math.sqrt(norm) + 1e-8))
            optimizer.step()
            schedule.step()
            for n, p in params.items():
                out[f"{run}/after.{step}.{n}"] = f32(p)
        settings["beta2." + run] = beta2
    return out, {k: repr(v) for k, v in settings.items()}


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    ops()
    write_safetensors(folder / "ops_golden.safetensors", OUT, {"made_by": "tools/golden_ops.py"})
    write_safetensors(folder / "ops_adamw.safetensors", *adamw())

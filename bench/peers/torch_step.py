"""A training step of the three benchmark models in PyTorch: what `mm1 bench step` is compared with.

  torch_step.py --model decoder|vit|mm1 --mode eager|compile [--threads N] [--steps N]
                [--batch B] [--seq T] [--layers L]

Same shapes, batch, precision (f32), clipping and AdamW as bench/recipes/*.yaml, as a good engineer writes it: fused
projections, scaled_dot_product_attention with is_causal, fused AdamW, the head only where there is a target.  Weights
start as ours do, so that the first loss must agree: about ln(vocabulary) + 1/2.  Prints one line of JSON; the median of
the steps after those that warm up (one, or two where the first compiles).
"""

import argparse
import json
import math
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

VOCAB, WIDTH, HEADS, MLP = 8192, 512, 8, 1408


def linear(n_in, n_out, bias, scale=1.0):
    layer = nn.Linear(n_in, n_out, bias=bias)
    nn.init.normal_(layer.weight, std=scale / math.sqrt(n_in))
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def heads(x, n):
    b, t, c = x.shape
    return x.view(b, t, n, c // n).transpose(1, 2)


class DecoderBlock(nn.Module):
    def __init__(self, n_layers):
        super().__init__()
        into_residual = 1 / math.sqrt(2 * n_layers)
        self.norm1, self.norm2 = nn.RMSNorm(WIDTH, eps=1e-5), nn.RMSNorm(WIDTH, eps=1e-5)
        self.qkv = linear(WIDTH, 3 * WIDTH, False)
        self.out = linear(WIDTH, WIDTH, False, into_residual)
        self.gate_up = linear(WIDTH, 2 * MLP, False)
        self.down = linear(MLP, WIDTH, False, into_residual)

    def forward(self, x, cos, sin):
        b, t, c = x.shape
        q, k, v = (heads(y, HEADS) for y in self.qkv(self.norm1(x)).chunk(3, dim=-1))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(o.transpose(1, 2).reshape(b, t, c))
        gate, up = self.gate_up(self.norm2(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class Decoder(nn.Module):
    def __init__(self, n_layers, seq):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, WIDTH)
        nn.init.normal_(self.embed.weight, std=1 / math.sqrt(WIDTH))
        self.blocks = nn.ModuleList(DecoderBlock(n_layers) for _ in range(n_layers))
        self.norm = nn.RMSNorm(WIDTH, eps=1e-5)
        d = WIDTH // HEADS
        angle = torch.outer(torch.arange(seq).float(), 10000 ** (-torch.arange(0, d, 2).float() / d))
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def forward(self, token, slot, visual, place, target):
        """slot: flat positions of image slots, whose embeddings are visual; place: flat positions with a target."""
        x = self.embed(token)
        if visual is not None:
            x = x.view(-1, WIDTH).index_copy(0, slot, visual.reshape(-1, WIDTH)).view_as(x)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        h = self.norm(x).view(-1, WIDTH).index_select(0, place)
        return F.cross_entropy(h @ self.embed.weight.t(), target)


class VisionBlock(nn.Module):
    def __init__(self, width, n_heads, mlp, n_layers):
        super().__init__()
        into_residual = 1 / math.sqrt(2 * n_layers)
        self.n_heads = n_heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv = linear(width, 3 * width, True)
        self.out = linear(width, width, True, into_residual)
        self.up = linear(width, mlp, True)
        self.down = linear(mlp, width, True, into_residual)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (heads(y, self.n_heads) for y in self.qkv(self.norm1(x)).chunk(3, dim=-1))
        o = F.scaled_dot_product_attention(q, k, v)
        x = x + self.out(o.transpose(1, 2).reshape(b, t, c))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Vision(nn.Module):
    def __init__(self, size, patch, n_layers, width=384, n_heads=6, mlp=1536):
        super().__init__()
        self.patch = nn.Conv2d(3, width, patch, stride=patch)
        nn.init.normal_(self.patch.weight, std=1 / math.sqrt(3 * patch * patch))
        nn.init.zeros_(self.patch.bias)
        self.pos = nn.Parameter(0.02 * torch.randn(1, (size // patch) ** 2, width))
        self.blocks = nn.ModuleList(VisionBlock(width, n_heads, mlp, n_layers) for _ in range(n_layers))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, pixels):
        x = self.patch(pixels).flatten(2).transpose(1, 2) + self.pos
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Bottleneck(nn.Module):
    """Channels last: [images, side, side, channels]."""

    def __init__(self, n_in, n):
        super().__init__()
        squeezed = max(round(0.25 * n_in), 1)
        self.conv1, self.conv3 = linear(n_in, n, False), linear(n, n, False)
        self.conv2 = nn.Conv2d(n, n, 3, padding=1, groups=n, bias=False)
        nn.init.normal_(self.conv2.weight, std=1 / 3)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(n, eps=1e-6) for _ in range(3))
        self.se1, self.se2 = linear(n, squeezed, True), linear(squeezed, n, True)
        self.shortcut = None
        if n_in != n:
            self.shortcut = nn.Sequential(linear(n_in, n, False), nn.LayerNorm(n, eps=1e-6))

    def forward(self, x):
        y = F.silu(self.norm1(self.conv1(x)))
        y = self.conv2(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        y = F.silu(self.norm2(y))
        gate = torch.sigmoid(self.se2(F.silu(self.se1(y.mean((1, 2))))))
        y = self.norm3(self.conv3(y * gate[:, None, None, :]))
        return F.silu(y + (x if self.shortcut is None else self.shortcut(x)))


class Abstractor(nn.Module):
    def __init__(self, n_in, hidden, depth, grid, side):
        super().__init__()
        self.grid, self.side = grid, side
        self.pos = nn.Parameter(0.02 * torch.randn(1, grid * grid, n_in))
        self.before = nn.Sequential(*(Bottleneck(n_in if i == 0 else hidden, hidden) for i in range(depth)))
        self.after = nn.Sequential(*(Bottleneck(hidden, hidden) for _ in range(depth)))
        self.read1, self.read2 = linear(hidden, WIDTH, True), linear(WIDTH, WIDTH, True)

    def forward(self, x):
        b, _, c = x.shape
        x = self.before((x + self.pos).view(b, self.grid, self.grid, c))
        x = F.adaptive_avg_pool2d(x.permute(0, 3, 1, 2), self.side).permute(0, 2, 3, 1)
        x = self.after(x).flatten(1, 2)
        return self.read2(F.silu(self.read1(x)))


class Mm1(nn.Module):
    def __init__(self, n_layers, seq):
        super().__init__()
        self.vision = Vision(336, 14, 12)
        self.connector = Abstractor(384, 512, 3, 24, 12)
        self.decoder = Decoder(n_layers, seq)

    def forward(self, pixels, token, slot, place, target):
        return self.decoder(token, slot, self.connector(self.vision(pixels)), place, target)


def text_batch(batch, seq, n_images, n_visual):
    """Full rows: <end>, then images with text after each; a target wherever the next position is text."""
    token = torch.randint(VOCAB, (batch, seq))
    is_slot = torch.zeros(batch, seq, dtype=torch.bool)
    text, at = seq - n_images * n_visual, 1
    for i in range(n_images):
        is_slot[:, at : at + n_visual] = True
        at += n_visual + (text - 1) * (i + 1) // n_images - (text - 1) * i // n_images
    has_target = torch.zeros_like(is_slot)
    has_target[:, :-1] = ~is_slot[:, 1:]
    following = torch.roll(token, -1, 1)
    slot, place = is_slot.flatten().nonzero().squeeze(1), has_target.flatten().nonzero().squeeze(1)
    return token, slot, place, following.flatten()[place]


def optimizer_of(model, lr=3e-4):
    decayed = [p for p in model.parameters() if p.dim() > 1]
    other = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": other, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), eps=1e-8, fused=True)


def make_step(args):
    """A function that runs one step and returns its loss, None for the encoder alone."""
    wrap = torch.compile if args.mode == "compile" else lambda model: model
    if args.model == "vit":
        vision = Vision(224, 16, args.layers or 12)
        run, pixels = wrap(vision), torch.rand(args.batch or 8, 3, 224, 224) * 2 - 1

        def step():
            vision.zero_grad(set_to_none=True)
            y = run(pixels)
            y.backward(y.detach() / y.numel())

        return step, vision
    n_layers = args.layers or 8
    if args.model == "decoder":
        batch, seq = args.batch or 8, args.seq or 512
        model = Decoder(n_layers, seq)
        token, _, place, target = text_batch(batch, seq, 0, 0)
        inputs = (token, None, None, place, target)
    else:
        batch, seq, n_images = args.batch or 4, args.seq or 1024, 4
        model = Mm1(n_layers, seq)
        token, slot, place, target = text_batch(batch, seq, n_images, 144)
        inputs = (torch.rand(batch * n_images, 3, 336, 336) * 2 - 1, token, slot, place, target)
    run, optimizer = wrap(model), optimizer_of(model)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = run(*inputs)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step, model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["decoder", "vit", "mm1"], required=True)
    parser.add_argument("--mode", choices=["eager", "compile"], default="eager")
    for option in "threads", "steps", "batch", "seq", "layers":
        parser.add_argument(f"--{option}", type=int)
    args = parser.parse_args()
    torch.manual_seed(1)
    torch.set_flush_denormal(True)
    if args.threads:
        torch.set_num_threads(args.threads)

    step, model = make_step(args)
    first_loss = step()
    if args.mode == "compile":
        step()
    seconds = []
    for _ in range(args.steps or 3):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    result = {
        "model": args.model,
        "mode": args.mode,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": len(seconds),
        "step_seconds": statistics.median_high(seconds),
    }
    if first_loss is not None:
        result["first_loss"] = first_loss
    json.dump(result, sys.stdout)
    print()


if __name__ == "__main__":
    main()

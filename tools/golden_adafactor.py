#!/usr/bin/env python3
"""Makes golden files of AdaFactor with the Adafactor of transformers (5.24.0, PyTorch 2.15.0), in f64, rounded to f32.

    golden_adafactor.py tests/data/tensor      writes ops_adafactor.safetensors there

Two runs of twelve steps on matrices, a vector and a tensor of rank 3, with a rate for each and decay for the matrices:
"fixed" with scale_parameter false, "scaled" with scale_parameter true.  <run>/start.<name>, <run>/grad.<step>.<name> and
<run>/after.<step>.<name> are the values; the settings are metadata.  Some gradients are large, so that updates are
clipped, some are tiny, and one parameter has a gradient of zero at first.
Building, running and testing mm1 needs none of this.
"""
import pathlib
import sys

import numpy as np
import torch
from transformers.optimization import Adafactor

sys.dont_write_bytecode = True
from golden_model import write_safetensors

TABLE = {"vision.w": ((5, 7), 0.5, True), "vision.b": ((5,), 0.5, False), "connector.w": ((3, 11), 2.0, True),
         "decoder.w": ((9, 4), 1.0, True), "decoder.experts": ((2, 4, 6), 1.0, True), "decoder.norm": ((17,), 1.0, False)}
SETTINGS = dict(n_steps=12, lr=2e-2, weight_decay=0.3)


def main(folder):
    out = {}
    for run in ("fixed", "scaled"):
        rng = np.random.default_rng(12)
        params = {n: torch.tensor((rng.standard_normal(s) * (0.1 if n == "connector.w" else 1)).astype(np.float32)
                                  .astype(np.float64), requires_grad=True) for n, (s, _, _) in TABLE.items()}
        optimizer = Adafactor([dict(params=[p], lr=SETTINGS["lr"] * TABLE[n][1],
                                    weight_decay=SETTINGS["weight_decay"] * TABLE[n][2]) for n, p in params.items()],
                              lr=SETTINGS["lr"], scale_parameter=run == "scaled", relative_step=False)
        for n, p in params.items():
            out[f"{run}/start.{n}"] = p.detach().numpy().astype(np.float32)
        for step in range(SETTINGS["n_steps"]):
            for n, p in params.items():
                g = (rng.standard_normal(p.shape) * [0.3, 0.02, 1e-7, 20, 0.05][step % 5]).astype(np.float32)
                if n == "decoder.w" and step < 2:
                    g *= 0
                out[f"{run}/grad.{step}.{n}"] = g
                p.grad = torch.tensor(g.astype(np.float64))
            optimizer.step()
            for n, p in params.items():
                out[f"{run}/after.{step}.{n}"] = p.detach().numpy().astype(np.float32)
    write_safetensors(folder / "ops_adafactor.safetensors", out, {k: repr(v) for k, v in SETTINGS.items()})


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))

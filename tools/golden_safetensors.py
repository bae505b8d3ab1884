#!/usr/bin/env python3
"""Makes and checks golden files with the `safetensors` package (0.5.3, with numpy 2.4.6 and ml_dtypes 0.5).

    golden_safetensors.py make tests/data/tensor      writes golden.safetensors there
    golden_safetensors.py check FILE                  FILE loads and holds the same as golden.safetensors

Building, running and testing mm1 needs none of this.  tests/tensor/test_safetensors.c reads the golden file and leaves
its own writing of the same tensors in <build>/rewritten.safetensors, for `check`.
"""
import pathlib
import sys

import ml_dtypes
import numpy as np
from safetensors import deserialize, safe_open, serialize_file

NAMES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "uint8": "U8", "bool": "BOOL",
         "int8": "I8", "int32": "I32", "float64": "F64"}
METADATA = {"format": "pt", "note": "quote \" backslash \\ newline \n umlaut \u00e4 face \U0001f600"}


def tensors():
    rng = np.random.default_rng(5)
    bits = rng.integers(0, 1 << 32, 2048, dtype=np.uint64).astype(np.uint32)
    edge = np.array([0, 0x80000000, 1, 0x7f800000, 0xff800000, 0x3f800000, 0x477fefff, 0x477ff000, 0x38800000,
                     0x387fffff, 0x33000000, 0x33000001, 0x33800000, 0x33c00000, 0x7f7fffff, 0x3f808000, 0x3f818000,
                     0x3f801000, 0x3f803000, 0x007fffff], dtype=np.uint32)
    # Random exponents where f16 has normal and denormal numbers.
    near = (rng.integers(100, 145, 1024).astype(np.uint32) << 23) | rng.integers(0, 1 << 23, 1024).astype(np.uint32)
    f32 = np.concatenate([edge, near, bits]).view(np.float32)
    f32 = f32[~np.isnan(f32)]
    with np.errstate(over="ignore"):
        f16 = f32.astype(np.float16)
    all_f16 = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)
    all_f16 = all_f16[(all_f16 & 0x7fff) <= 0x7c00][::29].view(np.float16)
    return {
        "half.f32": f32,
        "half.f16": f16,
        "half.bf16": f32.astype(ml_dtypes.bfloat16),
        "widen.f16": all_f16,
        "widen.f32": all_f16.astype(np.float32),
        "weight \u00e4 \"quoted\"": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        "scalar": np.array(2.5, dtype=np.float32),
        "empty": np.zeros((3, 0), dtype=np.float32),
        "ids": np.array([[1, -2], [1 << 40, 3]], dtype=np.int64),
        "bytes": np.arange(5, dtype=np.uint8),
        "mask": np.array([True, False, True]),
        "small": np.array([-128, 127, 0], dtype=np.int8),
        "wide": np.array([1.5, -1e300], dtype=np.float64),
    }


def raw(array):
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": array.tobytes()}


def make(folder):
    path = pathlib.Path(folder) / "golden.safetensors"
    serialize_file({name: raw(array) for name, array in tensors().items()}, str(path), METADATA)
    print(path, path.stat().st_size, "bytes")


def check(path):
    got = dict(deserialize(pathlib.Path(path).read_bytes()))
    want = tensors()
    assert sorted(got) == sorted(want), (sorted(got), sorted(want))
    for name, array in want.items():
        g = got[name]
        assert g["dtype"] == NAMES[array.dtype.name], (name, g["dtype"])
        assert list(g["shape"]) == list(array.shape), name
        assert bytes(g["data"]) == array.tobytes(), name
    with safe_open(path, framework="np") as f:
        assert f.metadata() == METADATA, f.metadata()
        assert sorted(f.keys()) == sorted(want)
        assert (f.get_tensor("ids") == want["ids"]).all()
    print(path, "loads and is the same:", len(want), "tensors")


if __name__ == "__main__":
    {"make": make, "check": check}[sys.argv[1]](sys.argv[2])

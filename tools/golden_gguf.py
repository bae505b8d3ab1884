#!/usr/bin/env python3
"""Makes and checks golden files with the package `gguf` (0.19.0, with numpy 2.4.6).

    golden_gguf.py make tests/data/tensor     writes golden.gguf there
    golden_gguf.py check FILE                 FILE reads and holds the same keys and tensors as golden.gguf

Building, running and testing mm1 needs none of this.  tests/tensor/test_gguf.c reads the golden file and leaves its own
writing of the same in <build>/rewritten.gguf, for `check`.

For each format F there are blocks of random bits, "F", and what the package makes of them, "F.f32".  "source" are
numbers, "source.F" the package's rounding of them.
"""
import pathlib
import sys

import numpy as np
from gguf import GGMLQuantizationType as Q
from gguf import GGUFReader, GGUFValueType, GGUFWriter, quants
from gguf.constants import GGML_QUANT_SIZES

READ = [Q.F16, Q.BF16, Q.Q8_0, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q4_K, Q.Q5_K, Q.Q6_K]
WRITTEN = [Q.F16, Q.BF16, Q.Q8_0, Q.Q4_0]
# Where the f16 numbers of a block lie.
HALVES = {Q.F16: [0], Q.Q8_0: [0], Q.Q4_0: [0], Q.Q4_1: [0, 2], Q.Q5_0: [0], Q.Q5_1: [0, 2], Q.Q4_K: [0, 2],
          Q.Q5_K: [0, 2], Q.Q6_K: [208]}
VALUES = [
    ("test.u8", 200, GGUFValueType.UINT8), ("test.i8", -100, GGUFValueType.INT8),
    ("test.u16", 60000, GGUFValueType.UINT16), ("test.i16", -30000, GGUFValueType.INT16),
    ("test.u32", 4000000000, GGUFValueType.UINT32), ("test.i32", -2000000000, GGUFValueType.INT32),
    ("test.u64", 1 << 63, GGUFValueType.UINT64), ("test.i64", -(1 << 62), GGUFValueType.INT64),
    ("test.f32", 0.1, GGUFValueType.FLOAT32), ("test.f64", 0.1, GGUFValueType.FLOAT64),
    ("test.true", True, GGUFValueType.BOOL), ("test.false", False, GGUFValueType.BOOL),
    ("test.string", "quote \" newline \n umlaut \u00e4 face \U0001f600", GGUFValueType.STRING),
    ("test.empty", "", GGUFValueType.STRING),
]
ARRAYS = [("test.strings", ["a", "", "\u0120the", "c"]), ("test.ints", [1, -2, 3]), ("test.floats", [0.5, -1.25])]


def tensors():
    """name -> (format, array as the writer takes it)"""
    rng = np.random.default_rng(7)
    out = {}
    for q in READ:
        block, width = GGML_QUANT_SIZES[q]
        rows, blocks = (3, 40) if block == 1 else (2, 3)
        bits = rng.integers(0, 256, (rows, blocks, width), dtype=np.uint8)
        for at in HALVES.get(q, []):
            half = rng.normal(0, 1, (rows, blocks)) * np.exp2(rng.integers(-26, 4, (rows, blocks)))
            bits[:, :, at:at + 2] = half.astype(np.float16).reshape(rows, blocks, 1).view(np.uint8)
        if q == Q.BF16:
            bits[:, :, 1] = rng.integers(0x30, 0x50, (rows, blocks)) | (rng.integers(0, 2, (rows, blocks)) << 7)
        bits = bits.reshape(rows, blocks * width)
        out[q.name] = (q, bits)
        out[q.name + ".f32"] = (Q.F32, quants.dequantize(bits, q).reshape(rows, blocks * block))
    source = (rng.normal(0, 1, (12, 64)) * np.exp2(rng.integers(-20, 12, (12, 64)) * rng.integers(0, 2, (12, 1))))
    source = source.astype(np.float32)
    source[3] = 0
    source[4, :32] = 1e-30  # a scale that is 0 as f16
    source[5] = np.round(source[5] * 4) / 4  # halves: ties
    source[6, 5] = -source[6].max()  # two extremes
    out["source"] = (Q.F32, source)
    for q in WRITTEN:
        out["source." + q.name] = (q, quants.quantize(source, q).view(np.uint8))
    out["scalars"] = (Q.F32, np.arange(5, dtype=np.float32))
    out["cube"] = (Q.F32, np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    return out


def make(folder):
    path = pathlib.Path(folder) / "golden.gguf"
    w = GGUFWriter(str(path), "test")
    w.add_custom_alignment(64)
    for name, value, kind in VALUES:
        w.add_key_value(name, value, kind)
    for name, values in ARRAYS:
        w.add_array(name, values)
    for name, (q, array) in tensors().items():
        w.add_tensor(name, array, raw_dtype=q)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    print(path, path.stat().st_size, "bytes")


def check(path):
    r = GGUFReader(path)
    want = tensors()
    assert [t.name for t in r.tensors if t.name in want] == [t.name for t in r.tensors], "another tensor"
    n = 0
    for t in r.tensors:
        q, array = want[t.name]
        assert t.tensor_type == q, (t.name, t.tensor_type)
        assert t.data.tobytes() == array.tobytes(), t.name
        n += 1
    for name, value, kind in VALUES:
        f = r.get_field(name)
        assert f.types == [kind], (name, f.types)
        got = f.contents()
        assert got == (np.float32(value) if kind == GGUFValueType.FLOAT32 else value), (name, got)
    for name, values in ARRAYS:
        assert r.get_field(name).contents() == values, name
    print(path, "reads and is the same:", n, "tensors")


if __name__ == "__main__":
    {"make": make, "check": check}[sys.argv[1]](sys.argv[2])

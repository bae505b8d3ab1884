#!/usr/bin/env python3
"""Makes and checks tar files with Python's tarfile; building, running and testing mm1 needs none of this.

    golden_tar.py make tests/data/base     writes tar_ustar.tar.gz, tar_gnu.tar.gz and tar_pax.tar.gz there
    golden_tar.py check FILE               FILE, left by tests/base/test_tar.c in <build>/written.tar, reads as meant
"""
import gzip
import io
import pathlib
import sys
import tarfile

LONG = "d" * 90 + "/" + "n" * 60 + ".txt"  # does not fit into 100 bytes, but into ustar's prefix and name
LONGER = "x" * 400 + ".json"               # fits into neither


def make(folder):
    for name, form in (("ustar", tarfile.USTAR_FORMAT), ("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT)):
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w", format=form) as tar:
            def add(path, data, **more):
                info = tarfile.TarInfo(path)
                info.size = len(data)
                for k, v in more.items():
                    setattr(info, k, v)
                tar.addfile(info, io.BytesIO(data))
            add("folder", b"", type=tarfile.DIRTYPE)
            add("folder/000.jpg", bytes(range(256)) * 3)
            add("folder/000.txt", b"a caption")
            add("link", b"", type=tarfile.SYMTYPE, linkname="folder/000.txt")
            add("empty", b"")
            add(LONG, b"long name")
            if name != "ustar":
                add(LONGER, b"longer name", mtime=1234567890)
            add("\u00e4.txt", b"umlaut")
            add("block", b"b" * 512)
        path = pathlib.Path(folder) / f"tar_{name}.tar.gz"
        with open(path, "wb") as f, gzip.GzipFile("", "wb", 9, f, mtime=0) as z:
            z.write(raw.getvalue())
        print(path, path.stat().st_size, "bytes")


def check(path):
    with tarfile.open(path, "r:") as tar:
        got = {m.name: (tar.extractfile(m).read(), m.mtime, m.mode, m.uid) for m in tar}
    want = {"a.txt": b"hello", "empty": b"", "n" * 100: b"100", "n" * 101: b"101", LONGER: b"longer",
            "\u00e4" * 60: b"umlauts", "block": b"b" * 512}
    assert list(got) == list(want), list(got)
    for name, data in want.items():
        assert got[name] == (data, 0, 0o644, 0), (name, got[name])
    print(path, "reads as meant:", len(want), "members")


if __name__ == "__main__":
    {"make": make, "check": check}[sys.argv[1]](sys.argv[2])

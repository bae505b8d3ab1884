#!/usr/bin/env python3
"""Writes the training log of a released model: means of every N steps of its runs, one after the other.

    python3 tools/train_log.py 50 out/nano/metrics.jsonl out/nano-more/metrics.jsonl >models/mm1-nano/train_log.jsonl

Each line says its run, the name of the folder.
"""
import json
import os
import sys

SOURCES = ("captions", "keywords", "more", "series", "questions", "documents", "text")
MEANS = ("loss", *("loss_" + s for s in SOURCES), "grad_norm")


def main(path, every):
    rows = []
    run = os.path.basename(os.path.dirname(os.path.abspath(path)))
    with open(path, encoding="utf-8") as f:
        for line in f:
            row = json.loads(line)
            if "loss" not in row:
                continue
            rows.append(row)
            if row["step"] % every == 0:
                out = {"run": run, **{key: row[key] for key in ("step", "tokens", "images", "lr")}}
                for key in MEANS:
                    values = [r[key] for r in rows if r.get(key) is not None]
                    if values:
                        out[key] = round(sum(values) / len(values), 4)
                print(json.dumps(out))
                rows = []


if __name__ == "__main__":
    for metrics in sys.argv[2:]:
        main(metrics, int(sys.argv[1]))

#!/usr/bin/env python3
"""Writes the training log of a released model: means of every N steps of a run's metrics.jsonl.

    python3 tools/train_log.py out/nano/metrics.jsonl 50 >models/mm1-nano/train_log.jsonl
"""
import json
import sys

MEANS = ("loss", "loss_captions", "loss_keywords", "loss_documents", "loss_text", "grad_norm")


def main(path, every):
    rows = []
    with open(path, encoding="utf-8") as f:
        for line in f:
            row = json.loads(line)
            if "loss" not in row:
                continue
            rows.append(row)
            if row["step"] % every == 0:
                out = {"step": row["step"], "tokens": row["tokens"], "images": row["images"], "lr": row["lr"]}
                for key in MEANS:
                    values = [r[key] for r in rows if r.get(key) is not None]
                    if values:
                        out[key] = round(sum(values) / len(values), 4)
                print(json.dumps(out))
                rows = []


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

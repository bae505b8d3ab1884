#!/usr/bin/env python3
"""Makes tests/data/eval/heldout.json: scores of the reference implementations on the held-out captions of the demo.

    make demo                                # or: mm1 data build recipes/demo.yaml
    /tmp/venv/bin/python tools/golden_heldout.py out/demo/data tests/data/eval/heldout.json

(The environment: tools/reference_metrics.py.)  The captions come with Debian's packages and are not committed: the file
holds scores, and the SHA-256 of the captions that they are of.  tests/eval/test_metrics.c arranges the captions as this
script does, and compares where they are the same.

Captions that end in a single letter and a full stop are left out: there the original looks at the next caption.  In the
order of their keys, which puts those of a source side by side, caption i stands as what a model said of a picture of
which people wrote captions i + 1 to i + 1 + i % 5.  A short answer is what stands in a caption behind its last ": " or ", ";
ten people said those of captions i + 1 to i + 10, the true answers are those of i + 1 to i + 3.
"""
import glob
import hashlib
import json
import re
import sys
import tarfile

import reference_metrics as reference


def captions(folder):
    found = {}
    for path in glob.glob(folder + "/heldout/captions-*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".txt"):
                    found[member.name[:-4]] = tar.extractfile(member).read().decode("utf-8").strip()
    texts = [found[key] for key in sorted(found, key=str.encode)]
    return [t for t in texts if not reference.depends_on_the_next(t)]


def main():
    texts = captions(sys.argv[1])
    n = len(texts)
    short = [re.split(": |, ", t)[-1] for t in texts]
    written = [(t, [texts[(i + 1 + k) % n] for k in range(1 + i % 5)]) for i, t in enumerate(texts)]
    asked = [(s, [short[(i + 1 + k) % n] for k in range(10)]) for i, s in enumerate(short)]
    scores = reference.caption_scores(written)
    scores["vqa"] = reference.vqa_scores(asked)
    scores["anls"] = reference.anls_scores([(s, people[:3]) for s, people in asked])
    out = {"sha256": hashlib.sha256("".join(t + "\n" for t in texts).encode()).hexdigest(), "n": n}
    out["bleu"] = scores.pop("bleu")[0]
    for name, (mean, each) in scores.items():
        out[name] = {"mean": round(mean, 9), "items": [round(s, 9) for s in each]}
        print(f"{name}: {mean:.6f}, {sum(s == 0 for s in each)} of {n} are 0, {len(set(each))} different scores")
    with open(sys.argv[2], "w", encoding="utf-8") as f:
        json.dump(out, f, indent=0)
        f.write("\n")


main()

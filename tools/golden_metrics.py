#!/usr/bin/env python3
"""Makes tests/data/eval/metrics.json: captions and answers with the scores of the reference implementations.

    /tmp/venv/bin/python tools/golden_metrics.py tests/data/eval/metrics.json

(The environment: tools/reference_metrics.py.)  ChartQA's relaxed match has no package; its rule is written out below.

The texts are sentences of this project's own documents and comments, changed the ways models change them: cut, swapped,
misspelt, put into other words' places.  No data set has a part in them.
"""
import glob
import json
import os
import random
import re
import sys

import reference_metrics as reference

N = 520


def sentences(root):
    found = []
    for path in sorted(glob.glob(root + "/docs/*.md") + glob.glob(root + "/src/**/*.h", recursive=True)):
        text = open(path, encoding="utf-8").read()
        blocks = re.findall(r"/\*(.*?)\*/", text, re.S) if path.endswith(".h") else re.split(r"\n\s*\n", text)
        for block in blocks:
            flat = re.sub(r"\s+", " ", block.replace("\n * ", " ").replace("\n", " ")).strip(" *")
            for s in re.split(r"(?<=[.:;]) +", flat):
                if 4 <= len(s.split()) <= 24 and not re.search(r"[|`]|->|==|\b[a-zA-Z]\.$", s):
                    found.append(s)
    return list(dict.fromkeys(found))


def change(rng, text, other):
    words = text.split()
    kind = rng.randrange(5)
    if kind == 0 and len(words) > 4:
        del words[rng.randrange(len(words) - 1)]
    elif kind == 1:
        i, j = rng.randrange(len(words)), rng.randrange(len(words))
        words[i], words[j] = words[j], words[i]
    elif kind == 2:
        words[rng.randrange(len(words))] = rng.choice(other.split())
    elif kind == 3:
        words = words[: max(3, len(words) * 2 // 3)]
    return " ".join(words)


def captions(rng, pool):
    items = []
    for i in range(N):
        text, other = pool[i % len(pool)], rng.choice(pool)
        references = [change(rng, text, other) for _ in range(rng.choice([1, 1, 2, 3, 5]))]
        candidate = rng.choice([text, change(rng, change(rng, text, other), other), other])
        items.append({"candidate": candidate, "references": references})
    items[0]["candidate"] = ""
    return items


ANSWERS = """yes|no|2|two|none|zero|ten|10|a dog|the dog|dog|An apple|isn't|isnt|dont know|can't|cant tell|1,000|1000|1,000 people|
3.5|3.5 m|5 o'clock|5 oclock|10:30|$5|50%|50 %|black and white|black & white|black/white|black-and-white|t-shirt|tshirt|T-Shirt|
St. Mary's|U.S.A.|usa|...|.5|0.5|the the the|they're|theyre|ya'll|yall|left, right|left,right|1,2|1, 2|  spaced  out  |café|Café|CAFÉ|
naïve|日本|ÉCOLE|2nd|2 nd|#1|no.|No.|Yes!|yes?|yes.|a|an|the|'twas|twas|somebody'd|a-b|a - b|(left)|[left]|left_hand|"stop"|stop|x=1|
3+4|50@home|it's|its|1.|1.a|a.1|10,000,000|half-full, half-empty|one two three|nine-ten|what's|whats up""".replace("\n", "").split("|")


def vqa(rng, pool):
    module = reference.vqa_module()
    normal = module.VQAEval(None, None)
    items = []
    for _ in range(N):
        base = rng.choice(ANSWERS) if rng.random() < 0.7 else " ".join(rng.choice(pool).split()[:3])
        near = [base, base.upper(), base + ".", "the " + base, base.replace("-", " "), rng.choice(ANSWERS)]
        items.append({"answer": rng.choice(near), "humans": [rng.choice(near) for _ in range(10)]})
    _, scores = reference.vqa_scores([(x["answer"], x["humans"]) for x in items])
    for x, score in zip(items, scores):
        plain = x["answer"].replace("\n", " ").replace("\t", " ").strip()
        x["normal"], x["score"] = normal.processDigitArticle(normal.processPunctuation(plain)), score
    return items


def misspell(rng, text):
    letters = list(text)
    for _ in range(rng.randrange(6)):
        i = rng.randrange(len(letters) + 1)
        kind = rng.randrange(3)
        if kind == 0:
            letters.insert(i, rng.choice("aeinst é"))
        elif i < len(letters):
            letters[i : i + 1] = [] if kind == 1 else [rng.choice("aeinst")]
    return "".join(letters)


def anls(rng, pool):
    items = []
    for _ in range(N):
        truth = rng.choice(ANSWERS) if rng.random() < 0.4 else " ".join(rng.choice(pool).split()[: rng.randrange(1, 6)])
        truths = [truth, misspell(rng, truth), rng.choice(ANSWERS)][: rng.randrange(1, 4)]
        answer = rng.choice([truth.upper(), misspell(rng, truth), " " + truth.replace(" ", "  "), rng.choice(ANSWERS)])
        items.append({"answer": answer, "truths": truths})
    _, scores = reference.anls_scores([(x["answer"], x["truths"]) for x in items])
    return [{**x, "score": score} for x, score in zip(items, scores)]


def relaxed_match(answer, truth):
    def number(t):
        try:
            return float(t.rstrip("%")) / 100 if t.endswith("%") else float(t)
        except ValueError:
            return None
    a, t = number(answer), number(truth)
    if a is not None and t:
        return abs(a - t) / abs(t) <= 0.05
    return answer.lower() == truth.lower()


def relaxed(rng):
    values = ["0", "0.0", "1", "-1", "10", "10.5", "11", "9.5", "9.49", "100%", "95%", "94.9%", "1", "1.05", "1.051", "1e3", "1000",
              "1_000", "1,000", "Yes", "yes", "YES", " 12 ", "12", "12.5 ", "nan", "inf", "-inf", "", "%", "5%%", "0x10", "16", "2020",
              "2015", "Ärzte", "ärzte", "3/4", "0.75", ".5", "5.", "+5", "1__0", "_1", "1e", "infinity"]
    pairs = [(a, t) for a in values for t in values]
    rng.shuffle(pairs)
    return [{"answer": a, "truth": t, "score": bool(relaxed_match(a, t))} for a, t in pairs[:N]]


def main():
    rng = random.Random(7)
    pool = sentences(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    rng.shuffle(pool)
    items = captions(rng, pool)
    scores = reference.caption_scores([(x["candidate"], x["references"]) for x in items])
    for i, x in enumerate(items):
        x["cider"], x["bleu4"], x["rougel"] = (scores[name][1][i] for name in ("cider", "bleu4", "rougel"))
    means = {"cider": scores["cider"][0], "bleu": scores["bleu"][0], "rougel": scores["rougel"][0]}
    out = {"captions": items, "means": means, "vqa": vqa(rng, pool), "anls": anls(rng, pool), "relaxed": relaxed(rng)}
    with open(sys.argv[1], "w", encoding="utf-8") as f:
        json.dump(out, f, ensure_ascii=False, indent=0)
        f.write("\n")
    print(len(pool), "sentences;", means)


main()

#!/usr/bin/env python3
"""Compares `mm1 metrics` with the reference implementations on what real models answered to real pictures.

    mm1 eval -m models/mm1-nano --tasks heldout_captions --output out/check/captions
    mm1 eval -m models/mm1-nano-chat --tasks heldout_questions --chat --output out/check/questions
    mm1 eval -m models/mm1-nano-chat --tasks heldout_questions --chat --votes 9 --temperature 1 --output out/check/people
    /tmp/venv/bin/python tools/check_metrics.py build/release/mm1 out/check/captions out/check/questions --people out/check/people

(The environment: tools/reference_metrics.py.)  Any output folder of `mm1 eval --tasks` will do.  Answers and references go
into the official files of COCO, VQA and DocVQA in a temporary folder; both sides read these.  Captions are scored with
CIDEr-D, BLEU-4 and ROUGE-L, answers with VQA accuracy and ANLS.  VQA accuracy wants ten people: they are an item's
references and what was written to the same item in the run of --people.

Left out are captions like "The letter R.": the original reads its end by what the next caption of the file begins with.

Ends with 1 if a score of a set or of one item differs by more than --tolerance, or if a table has fewer than --least items.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import reference_metrics as reference


def read_samples(folder):
    path = folder if folder.endswith(".jsonl") else os.path.join(folder, "samples.jsonl")
    with open(path, encoding="utf-8") as f:
        return [s for s in map(json.loads, f) if s.get("answer") is not None and s.get("references")]


def run_metric(mm1, name, predictions, references, folder):
    items = os.path.join(folder, "items.jsonl")
    out = subprocess.run([mm1, "metrics", name, "--predictions", predictions, "--references", references, "--items", items,
                          "--json"], check=True, capture_output=True, text=True)
    result = json.loads(out.stdout)
    with open(items, encoding="utf-8") as f:
        each = {int(x["id"]): x["score"] for x in map(json.loads, f)}
    return result["score"], [each[i] for i in range(result["n"])]


def dump(folder, name, content):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as f:
        json.dump(content, f, ensure_ascii=False)
    return path


def compare(rows, label, name, ours, theirs, scale):
    difference = max(abs(a / scale - b) for a, b in zip([ours[0], *ours[1]], [theirs[0], *theirs[1]]))
    n_zero = sum(b == 0 for b in theirs[1])
    rows.append((label, name, len(theirs[1]), ours[0] / scale, theirs[0], difference, n_zero))


def check_captions(mm1, label, samples, rows):
    kept = [s for s in samples if not any(map(reference.depends_on_the_next, [s["answer"], *s["references"]]))]
    print(f"{label}: {len(samples) - len(kept)} items left out, whose words depend on the caption in the next line")
    samples = kept
    items = [(s["answer"], s["references"]) for s in samples]
    theirs = reference.caption_scores(items)
    with tempfile.TemporaryDirectory() as folder:
        said = dump(folder, "results.json", [{"image_id": i, "caption": x[0]} for i, x in enumerate(items)])
        truth = [{"image_id": i, "caption": r} for i, x in enumerate(items) for r in x[1]]
        truth = [{**t, "id": k} for k, t in enumerate(truth)]
        images = [{"id": i, "file_name": s["id"]} for i, s in enumerate(samples)]
        truths = dump(folder, "captions.json", {"images": images, "annotations": truth})
        for name, scale in (("cider", 1), ("bleu4", 100), ("rougel", 100)):
            compare(rows, label, name, run_metric(mm1, name, said, truths, folder), theirs[name], scale)


def check_answers(mm1, label, samples, people, rows):
    items = [(s["answer"], s["references"] + people.get((s["task"], s["id"]), [])) for s in samples]
    with tempfile.TemporaryDirectory() as folder:
        if any(len(x[1]) > 1 for x in items):  # of one person alone nobody else can agree
            _, truths, said = reference.write_vqa(items, folder)
            compare(rows, label, "vqa", run_metric(mm1, "vqa", said, truths, folder), reference.vqa_scores(items), 100)
        items = [(s["answer"], s["references"]) for s in samples]
        said = dump(folder, "said.json", [{"questionId": i, "answer": x[0]} for i, x in enumerate(items)])
        truths = dump(folder, "truths.json", {"data": [{"questionId": i, "answers": x[1]} for i, x in enumerate(items)]})
        compare(rows, label, "anls", run_metric(mm1, "anls", said, truths, folder), reference.anls_scores(items), 100)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("mm1")
    parser.add_argument("runs", nargs="+", help="output folders of mm1 eval --tasks")
    parser.add_argument("--people", action="append", default=[], help="runs whose answers are those of people")
    parser.add_argument("--tolerance", type=float, default=1e-6)
    parser.add_argument("--least", type=int, default=500)
    a = parser.parse_args()
    people = {}
    for run in a.people:
        for s in read_samples(run):
            people.setdefault((s["task"], s["id"]), []).extend(s.get("written") or [s["answer"]])
    rows = []
    for run in a.runs:
        groups = {}
        for s in read_samples(run):
            groups.setdefault((s["task"], s["shots"], s["seed"]), []).append(s)
        for (task, shots, seed), samples in groups.items():
            label = f"{task}, {shots} shots, seed {seed}"
            if "captions" in task or task.startswith(("coco", "nocaps", "textcaps")):
                check_captions(a.mm1, label, samples, rows)
            check_answers(a.mm1, label, samples, people, rows)
    print(f"{'answers':40} {'metric':7} {'items':>6} {'mm1':>12} {'reference':>12} {'furthest':>9} {'zeros':>6}")
    bad = False
    for label, name, n, ours, theirs, difference, n_zero in rows:
        wrong = not difference <= a.tolerance or n < a.least
        bad = bad or wrong
        print(f"{label:40} {name:7} {n:6} {ours:12.8f} {theirs:12.8f} {difference:9.1e} {n_zero:6}{'  WRONG' if wrong else ''}")
    return bad


if __name__ == "__main__":
    sys.exit(main())

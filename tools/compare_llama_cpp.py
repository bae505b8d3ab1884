#!/usr/bin/env python3
"""Runs mm1 and llama.cpp on the same GGUF file and compares tokens, greedy text and perplexity.

    compare_llama_cpp.py MM1 FILE.gguf [--prompts N] [--tokens N] [--windows N] [--text FILE] [--skip-generate]

Needs llama-cpp-python (0.3.36), numpy and safetensors.  For each prompt:

  tokens     both tokenizers give the same ids
  greedy     llama.cpp goes on from the ids that mm1 reads, always by the most likely token; mm1 scores that sequence, and
             at each place its most likely token must be the one that follows.  By induction that is the same greedy text.
             Where it is not, the gap between the two logits is printed.
  generate   `mm1 generate -t 0` prints the text of these tokens

and for windows of 512 tokens of a text: sum of log-probabilities of 511 of them, all windows together as perplexity.
Exits with 1 if tokens, text or three digits of the perplexity differ.
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from llama_cpp import Llama
from safetensors.numpy import load_file

PROMPTS = [
    "The capital of France is", "Once upon a time, there was a", "def fibonacci(n):\n", "Water boils at",
    "The three laws of motion are", "In 1969, the first", "My favourite recipe for soup is", "SELECT name FROM",
    "The mitochondria is", "Dear Sir or Madam,\n\n", "To install the package, run", "The year 2020 was",
    "Photosynthesis is the process by which", "A triangle with sides 3, 4 and 5", "Q: What is the largest planet?\nA:",
    "El perro corre por", "Die Stadt Berlin ist", "<html>\n<head>", "The stock market crashed because", "1, 2, 3, 4,",
]
WINDOW = 512


class Mm1:
    def __init__(self, program, model):
        self.program, self.model = program, model
        self.dir = tempfile.TemporaryDirectory()

    def run(self, *args):
        p = subprocess.run([self.program, *args, "-m", self.model], capture_output=True, check=False)
        if p.returncode != 0:
            sys.exit(f"mm1 {args[0]}: {p.stderr.decode()}")
        return json.loads(p.stdout)

    def score(self, document, logits=None):
        path = pathlib.Path(self.dir.name) / "document.json"
        path.write_text(json.dumps(document))
        return self.run("score", "--json", "--open", "--document", str(path), *(["--logits", logits] if logits else []))

    def ids(self, text):
        return [t["id"] for t in self.score({"parts": [{"type": "text", "text": text}]})["tokens"]]

    def logits(self, ids):
        path = str(pathlib.Path(self.dir.name) / "logits.safetensors")
        self.score({"tokens": ids}, path)
        return load_file(path)["logits"]

    def generate(self, prompt, n):
        return self.run("generate", "--json", "-t", "0", "-n", str(n), "-p", prompt)["text"]


def greedy(llama, ids, n):
    """n ids, and the logits that chose each."""
    llama.reset()
    llama.eval(ids)
    out, rows = [], []
    for _ in range(n):
        row = np.array(llama.scores[llama.n_tokens - 1])
        rows.append(row)
        out.append(int(row.argmax()))
        llama.eval([out[-1]])
    return out, rows


def main():
    a = argparse.ArgumentParser()
    a.add_argument("mm1")
    a.add_argument("model")
    a.add_argument("--prompts", type=int, default=len(PROMPTS))
    a.add_argument("--tokens", type=int, default=64)
    a.add_argument("--windows", type=int, default=8)
    a.add_argument("--text", default="/usr/share/common-licenses/GPL-3")
    a.add_argument("--skip-generate", action="store_true", help="do not run `mm1 generate`")
    a = a.parse_args()
    mm1 = Mm1(a.mm1, a.model)
    # Keys and values in F32 (0), as in mm1; llama.cpp's default is F16.
    llama = Llama(a.model, n_ctx=WINDOW, logits_all=True, verbose=False, type_k=0, type_v=0, flash_attn=False)
    n_bad = n_places = 0
    worst = 0.0
    for prompt in PROMPTS[:a.prompts]:
        ids = mm1.ids(prompt)
        theirs = llama.tokenize(prompt.encode(), add_bos=False, special=False)
        if ids[len(ids) - len(theirs):] != theirs:
            print(f"tokens differ for {prompt!r}: mm1 {ids}, llama.cpp {theirs}")
            n_bad += 1
        out, rows = greedy(llama, ids, a.tokens)
        ours = mm1.logits(ids + out)[len(ids) - 1:-1]
        same = True
        for i, (row, mine) in enumerate(zip(rows, ours)):
            worst = max(worst, float(np.abs(row - mine).max()))
            n_places += 1
            if int(mine.argmax()) != out[i]:
                same = False
                top = int(mine.argmax())
                print(f"{prompt!r}, token {i}: llama.cpp {out[i]}, mm1 {top}; gap {row[out[i]] - row[top]:.2e} there, "
                      f"{mine[top] - mine[out[i]]:.2e} here")
        if not a.skip_generate:
            # A special token has no text; what follows an end is not generated.
            until = [len(llama.detokenize([i])) > 0 for i in out] + [False]
            text = mm1.generate(prompt, a.tokens)
            want = llama.detokenize(out[:until.index(False)]).decode(errors="replace")
            if text != want if until.index(False) == len(out) else not text.startswith(want):
                same = False
                print(f"generate: {prompt!r}: {text!r}, llama.cpp {want!r}")
        n_bad += not same
        print(f"{'same' if same else 'DIFFERENT'}: {prompt!r}", flush=True)
    print(f"{a.prompts} prompts of {a.tokens} tokens: {n_bad} differ; largest difference of a logit {worst:.2e} "
          f"at {n_places} places")

    text = pathlib.Path(a.text).read_bytes()
    ids = llama.tokenize(text, add_bos=False, special=False)
    sums = np.zeros(2)
    n = 0
    for begin in range(0, min(len(ids) - WINDOW + 1, a.windows * WINDOW), WINDOW):
        window = ids[begin:begin + WINDOW]
        llama.reset()
        llama.eval(window)
        rows = np.array(llama.scores[:WINDOW - 1], dtype=np.float64)
        rows -= rows.max(axis=1, keepdims=True)
        logp = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
        theirs = logp[np.arange(WINDOW - 1), window[1:]].sum()
        s = mm1.score({"tokens": window})
        sums += [s["sum_logprob"], theirs]
        n += WINDOW - 1
        assert s["n"] == WINDOW - 1
    ours, theirs = (math.exp(-x / n) for x in sums)
    print(f"perplexity of {n} tokens: mm1 {ours:.5f}, llama.cpp {theirs:.5f}")
    n_bad += f"{ours:.3g}" != f"{theirs:.3g}" and abs(ours / theirs - 1) > 1e-4
    sys.exit(1 if n_bad else 0)


if __name__ == "__main__":
    main()

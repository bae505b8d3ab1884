#!/usr/bin/env python3
"""Makes tests/data/text/char_*: tokenizers of LLaMA 2's and Mistral's kind with the `tokenizers` package, and what they
give; and a byte-level one with LLaMA 3's components.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install tokenizers==0.23.3
    /tmp/venv/bin/python tools/golden_char_tokenizer.py

The components are those of the published files; the vocabularies are trained here on a few lines.  Nothing that is built
or run needs this script.
"""
import json
import os
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

DATA = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "data", "text")
B = "\u2581"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
WORDS = ("the of and to in a is that it was for on are as with his they at be this from have or by one had not but what all "
         "were when we there can an your which their said if do will each about how up out them then she many some so these "
         "would other into has more her two like him see time could no make than first been its who now people my made over "
         "na\u00efve caf\u00e9 \u00fcber \u0441\u043b\u043e\u0432\u043e \u043f\u0440\u0438\u0432\u0435\u0442 "
         "\u03ba\u03b1\u03b9 \u65e5\u672c\u8a9e \u4f60\u597d \u4e16\u754c").split()
CASES = ["", " ", "  ", "   ", "a", " a", "  a", "a ", "a  b", "Hello, world!", "the cat", " the cat", "and the cup and  the call", "the  cat   sat    on",
         " " * 40, "x" + " " * 17 + "y", "\n", "\n\n the", "a\tb\r\n", "\x00\x01\x7f", B, B + "the", "the" + B + "cat", B + B,
         "na\u00efve caf\u00e9", "\u4f60\u597d\u4e16\u754c\u65e5\u672c\u8a9e\u306e", "\U0001f600\U0001f468\u200d\U0001f469", "\ufeffbom",
         "\u0928\u092e\u0938\u094d\u0924\u0947", "1234567 89", "<s>", "</s> the <s>", "<unk>", "<0x0A>", "<0x41> a", "<tool>",
         "a <tool> b<tool>c", "<tool><tool>  the", "the" * 100, "a" * 300, "\u4f60" * 60, "e\u0301 q\u0307\u0323",
         "don't we'll I'M", "if (x) {\n        y();\n    }", "\u3000\u00a0x\u2003"]


def words(n):
    r = random.Random(4)
    return ["".join(r.choice(["", "", " ", "  "]) + " " + r.choice(WORDS) + r.choice(["", "", "", ".", ","])
                    for _ in range(40)) for _ in range(n)]


def chars(normalizer, pre, bos, strip, inner=False, no_blank=False):
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = normalizer
    if pre is not None:
        t.pre_tokenizer = pre
    train = Tokenizer(models.BPE(unk_token="<unk>"))
    train.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    train.train_from_iterator(words(60), trainers.BpeTrainer(vocab_size=330, special_tokens=["<unk>"], show_progress=False))
    have = json.loads(train.to_str())["model"]
    tokens = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(256)]
    # runs of blanks are tokens of these vocabularies, longest merges first as in LLaMA's
    merges = [[B, B], [B + B, B + B], [B * 4, B * 4]] + [m if isinstance(m, list) else m.split(" ") for m in have["merges"]]
    learned = [w for w in have["vocab"] if w != "<unk>" and w != B]
    tokens += [B, B * 2, B * 4, B * 8] + [w for w in learned if set(w) != {B}]
    if inner:  # a token with a blank behind a letter: words cannot be cut at blanks
        tokens += ["d" + B, "e" + B + "c"]
        tokens += [] if B + "c" in tokens else [B + "c"]
        before = [["d", B], [B, "c"], ["e", B + "c"]]
        merges = before + [m for m in merges if m not in before]
    if no_blank:  # then a blank is the three bytes of U+2581
        tokens = [w for w in tokens if B not in w]
        merges = [m for m in merges if B not in "".join(m)]
    root = json.loads(t.to_str())
    root["model"]["vocab"] = {w: i for i, w in enumerate(tokens)}
    root["model"]["merges"] = merges
    t = Tokenizer.from_str(json.dumps(root))
    t.add_special_tokens(["<unk>", "<s>", "</s>"])
    t.add_tokens([AddedToken("<tool>", normalized=False)])
    t.decoder = decoders.Sequence([decoders.Replace(B, " "), decoders.ByteFallback(), decoders.Fuse()] +
                                  ([decoders.Strip(" ", 1, 0)] if strip else []))
    if bos:
        t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)])
    return t


def llama3():
    t = Tokenizer(models.BPE(ignore_merges=True))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"), pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(words(60), trainers.BpeTrainer(
        vocab_size=420, special_tokens=["<|begin_of_text|>", "<|end_of_text|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
        single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
        special_tokens=[("<|begin_of_text|>", 0)])])
    return t


def is_typed(t, text):
    """The package makes special tokens out of text, which mm1 does not."""
    return any(s.content in text for s in t.get_added_tokens_decoder().values() if s.special)


def main():
    replace = normalizers.Replace(" ", B)
    made = {
        "llama2": chars(normalizers.Sequence([normalizers.Prepend(B), replace]), None, True, True),
        "noprefix": chars(replace, None, False, False),
        "mistral": chars(None, pre_tokenizers.Metaspace(replacement=B, prepend_scheme="first", split=False), True, True),
        "always": chars(None, pre_tokenizers.Metaspace(replacement=B, prepend_scheme="always", split=True), True, True),
        "never": chars(None, pre_tokenizers.Metaspace(replacement=B, prepend_scheme="never", split=True), True, False),
        "inner": chars(replace, None, False, False, True),
        "noblank": chars(normalizers.Sequence([normalizers.Prepend(B), replace]), None, False, True, no_blank=True),
        "llama3": llama3(),
    }
    out = []
    for name, t in made.items():
        with open(os.path.join(DATA, f"char_{name}.tokenizer.json"), "w") as f:
            f.write(json.dumps(json.loads(t.to_str()), ensure_ascii=False, separators=(",", ":")))
        for text in CASES + [" ".join(words(1))]:
            if is_typed(t, text):
                continue
            ids = t.encode(text, add_special_tokens=False).ids
            out.append({"tokenizer": name, "text": text, "ids": ids, "decoded": t.decode(ids)})
    with open(os.path.join(DATA, "char_cases.json"), "w") as f:
        f.write(json.dumps(out, ensure_ascii=True, separators=(",", ":")))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Makes src/text/unicode_table.h and the golden files of tests/data/text with the `tokenizers` package.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install tokenizers==0.23.3 xxhash zstandard
    apt-get install unicode-cldr-core            # 41-0.1: /usr/share/unicode/cldr
    /tmp/venv/bin/python tools/golden_tokenizer.py

Nothing that is built or run needs this script.  See tests/data/text/README.md for what the files hold.
"""
import glob
import json
import os
import random
import re
import struct
import sys
import unicodedata
import xml.etree.ElementTree

import tokenizers
import xxhash
import zstandard
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DATA = os.path.join(ROOT, "tests", "data", "text")
CLDR = "/usr/share/unicode/cldr/common"
STDLIB = "/usr/lib/python3.11"
SPECIALS = ["<|endoftext|>", "<|pad|>", "<|image|>"]
PIECE_BYTES = 4096
# The pattern of Qwen2 (Apache-2.0) and of many others.
QWEN_PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
                r"|\s+(?!\S)|\s+")
LANGUAGES = ("en de fr es pt it nl sv da no fi et lv lt pl cs sk sl hr sr bg ru uk be mk el tr az kk ky uz tk mn hu ro "
             "sq eu ga cy is ca gl he ar fa ur ps sd ug hi mr ne bn as pa gu or ta te kn ml si th lo my km ka hy am ti "
             "sw zu yo ig ha so vi id ms fil jv ja ko zh yue zh_Hant chr").split()


def class_table():
    """Ranges of code points by the classes that the package's regular expressions see."""
    classes = ["O"] * 0x110000
    for letter, pattern in (("L", r"\p{L}+"), ("N", r"\p{N}+"), ("S", r"\s+")):
        remover = pre_tokenizers.Split(Regex(pattern), "removed")
        for base in range(0, 0x110000, 0x800):
            if base == 0xD800:
                continue
            keep = bytearray(0x800)
            for _, (begin, end) in remover.pre_tokenize_str("".join(map(chr, range(base, base + 0x800)))):
                keep[begin:end] = b"\1" * (end - begin)
            for i in range(0x800):
                if not keep[i]:
                    classes[base + i] = letter
    ranges = [(i, c) for i, c in enumerate(classes) if i == 0 or classes[i - 1] != c]
    lines = [
        "/* unicode_table.h - made by tools/golden_tokenizer.py; do not edit.  Included by unicode_class.c only.",
        " *",
        " * Code points in ranges of one class: first code point << 2 | class (0 letter, 1 number, 2 space, 3 other).  "
        "Unicode 16,",
        " * read off the classes \\p{L}, \\p{N} and \\s of the regular expressions of the `tokenizers` package, version "
        f"{tokenizers.__version__}. */",
        "#ifndef MM1_TEXT_UNICODE_TABLE_H", "#define MM1_TEXT_UNICODE_TABLE_H", "", "#include <stdint.h>", "",
        f"static const uint32_t mm1__char_ranges[{len(ranges)}] = {{"]
    row = [f"{hex(first << 2 | 'LNSO'.index(c))}," for first, c in ranges]
    lines += ["    " + " ".join(row[i:i + 11]) for i in range(0, len(row), 11)]
    lines += ["};", "", "#endif", ""]
    with open(os.path.join(ROOT, "src", "text", "unicode_table.h"), "w") as f:
        f.write("\n".join(lines))


def annotations(language, folder="annotations"):
    """(character, keywords) of one language."""
    path = f"{CLDR}/{folder}/{language}.xml"
    if not os.path.exists(path):
        return []
    nodes = xml.etree.ElementTree.parse(path).iter("annotation")
    return [(n.get("cp"), re.sub(r"\s*\|\s*", ", ", n.text or "")) for n in nodes]


def english(r):
    """Documentation prose and source code of Python (PSF-2.0)."""
    topics = open(f"{STDLIB}/pydoc_data/topics.py", encoding="utf-8").read()
    scope = {}
    exec(topics, scope)
    prose = "".join(scope["topics"][k] for k in sorted(scope["topics"]))[:170000]
    code = "".join(open(f"{STDLIB}/{n}.py", encoding="utf-8").read() for n in ("textwrap", "bisect", "heapq", "string"))
    words = [w for _, w in annotations("en") if " " not in w]
    talk = []
    for _ in range(700):
        a, b, c = (r.choice(words).split(",")[0] for _ in range(3))
        talk.append(r.choice([
            f"I'm sure it's the {a}'s {b}; we've seen {c}s, they'll say, and he'd agree. ",
            f"Don't! You're {a}... WE'RE {b.upper()}, IT'S {c.upper()}'S. ",
            f"\u201cThat\u2019s {a},\u201d she said\u2014{b}-{c}'tis 'twas o'clock rock 'n' roll.\n",
            f"{a}: {r.randrange(10**6)} {b}, {r.randrange(100)}.{r.randrange(1000)}e-{r.randrange(9)}%  {c}\t#{r.randrange(9)}\n",
        ]))
    return prose + code[:60000] + "".join(talk)


def whitespace(r):
    spaces = [" "] * 8 + ["\n"] * 4 + ["\t", "\r\n", "\r\n", "\r", "\v", "\f", "\x1c", "\x85", "\xa0", "\u1680", "\u180e",
                                      "\u2003", "\u200b", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\ufeff"]
    out = []
    for _ in range(5000):
        out.append("".join(r.choice(spaces) for _ in range(r.choice([1, 1, 2, 3, 5]))))
        out.append(r.choice(["x", "'s", "'ll", "12", "\u0663", "\xbd", "!", "...", "\u00e9", "e\u0301", "\u4e2d", "'", "a1_b"]))
    return "".join(out) + " " * 700 + "\n" * 300 + "a" * 3000 + "=" * 500 + "7" * 500


def marks(r):
    combining = [c for c in map(chr, range(0x300, 0x370))] + ["\u0591", "\u05b8", "\u064b", "\u0651", "\u093c", "\u0e38",
                                                             "\u302a", "\U0001d165", "\U0001d16d"]
    bases = "aeiouncszAEOU\u00e5\u0439\u05d0\u0628\u0915\u0e01\u304b\u1100\u1161\u11a8"
    return "".join(r.choice(bases) + "".join(r.choice(combining) for _ in range(r.choice([0, 1, 1, 2, 4])))
                   + r.choice(["", "", " "]) for _ in range(4000))


def random_text(r, n, codes):
    out = []
    while sum(map(len, out)) < n:
        run = r.choice(codes)
        out.append("".join(chr(c) for c in (r.choice(codes) if r.random() < 0.5 else run + k for k in range(r.randrange(1, 9)))
                           if c < 0x110000 and not 0xD800 <= c < 0xE000) + r.choice([" ", "", "", "\n", "1"]))
    return "".join(out)


def golden_text():
    """(text, number of bytes of it that have only characters of Unicode 14)"""
    r = random.Random(20240314)
    parts = [english(r)]
    for language in LANGUAGES:
        lines = annotations(language)
        r.shuffle(lines)
        out = []
        while lines and sum(len(x.encode()) for x in out) < 10500:
            cp, words = lines.pop()
            out.append(r.choice([f"{words}. ", f"{words} {cp}, ", f"{words}; ", f"{words}\n", f"({words}) {r.randrange(2000)} "]))
        parts.append(f"\n\n{language}\n" + "".join(out))
    emoji = [cp for cp, _ in annotations("en") + annotations("en", "annotationsDerived")]
    parts.append("".join(r.choice(emoji) + r.choice(["", "", " ", "\ufe0f", "\u200d", "!"]) for _ in range(5000)))
    parts += [whitespace(r), marks(r)]
    assigned = [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
    old = random_text(r, 24000, assigned)
    old = "".join(c for c in old if unicodedata.category(c) != "Cn")
    parts.append(old)
    text = "".join(parts)
    for special in SPECIALS:
        text = text.replace(special, "")
    new = random_text(r, 6000, range(0x20, 0x110000))
    return text + new, len(text.encode())


def cut(data):
    """Pieces of about PIECE_BYTES that end where a character ends."""
    pieces, begin = [], 0
    while begin < len(data):
        end = min(begin + PIECE_BYTES, len(data))
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end += 1
        pieces.append((begin, end - begin))
        begin = end
    return pieces


def trainer(vocab_size):
    return trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=SPECIALS, show_progress=False,
                               initial_alphabet=pre_tokenizers.ByteLevel.alphabet())


def gpt2_tokenizer(text):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    t.train_from_iterator([text], trainer(4096))
    return t


def qwen_tokenizer(text):
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN_PATTERN), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    t.train_from_iterator([text[:900000]], trainer(1500))
    return t


CASES = ["", " ", "  ", "\n", "a", " a", "Hello, world!", "I'm you're they've he'll she'd it's don't 'S 'T 'RE",
         "'", "''", " '", "'s's", "a'", "a's b'x", "x  y", "x \n y", "x\n\ny", "\u00a0x", "x\u3000\u3000y", "1234567 89 \u00bd\u0663",
         "na\u00efve caf\u00e9 cafe\u0301", "\ud55c\uad6d\uc5b4", "\u65e5\u672c\u8a9e\u306e\u6587", "\u0928\u092e\u0938\u094d\u0924\u0947", "\U0001f468\u200d\U0001f469\u200d\U0001f467",
         "\u1100\u1161\u11a8", "q\u0307\u0323", "\u212b", "\u017fs 'ſ", "trailing   ", "\ttabs\t\tand\r\nlines\r\n", "if (x == 1) {\n        y();\n    }\n",
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "<tool>", "a <tool>er b<tool>", "<tool><toolbox>", "\x00\x01\x7f", "\ufeffbom"]


def cases(gpt2, qwen):
    prefix = Tokenizer.from_str(gpt2.to_str())
    prefix.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    added = Tokenizer.from_str(gpt2.to_str())
    added.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("<tool>er", normalized=False)])
    digits, runs = Tokenizer.from_str(gpt2.to_str()), Tokenizer.from_str(gpt2.to_str())
    for t, each in ((digits, True), (runs, False)):  # SmolLM's is the first
        t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=each),
                                                   pre_tokenizers.ByteLevel(add_prefix_space=False)])
    of = {"gpt2": gpt2, "qwen": qwen, "prefix": prefix, "added": added, "digits": digits, "runs": runs}
    return [{"tokenizer": name, "text": text, "ids": t.encode(text, add_special_tokens=False).ids}
            for name, t in of.items() for text in CASES]


def invalid_bytes(data):
    r = random.Random(7)
    out = bytearray()
    while len(out) < 40000:
        at = r.randrange(len(data))
        out += data[at:at + r.randrange(1, 30)]
        out += r.choice([b"", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80\x80", b"\xf0\x9f\x98", b"\x00"])
    return bytes(out)


def write(name, data):
    with open(os.path.join(DATA, name), "wb") as f:
        f.write(data)


def main():
    os.makedirs(DATA, exist_ok=True)
    class_table()
    text, n_old = golden_text()
    data = text.encode()
    gpt2, qwen = gpt2_tokenizer(text), qwen_tokenizer(text)
    rows = ["# offset length | ids hash of gpt2 | ids hash of qwen (- for pieces with characters newer than Unicode 14)"]
    for begin, length in cut(data):
        piece = data[begin:begin + length].decode()
        row = [str(begin), str(length)]
        for t, wanted in ((gpt2, True), (qwen, begin + length <= n_old)):
            ids = t.encode(piece, add_special_tokens=False).ids
            digest = xxhash.xxh3_64_hexdigest(struct.pack(f"<{len(ids)}i", *ids))
            row += [str(len(ids)), digest] if wanted else ["0", "-"]
        rows.append(" ".join(row))
    compressor = zstandard.ZstdCompressor(level=22)
    write("golden.txt.zst", compressor.compress(data))
    write("golden.ids", ("\n".join(rows) + "\n").encode())
    write("invalid.bin.zst", compressor.compress(invalid_bytes(data)))
    write("gpt2.tokenizer.json", gpt2.to_str().encode())
    write("qwen.tokenizer.json", qwen.to_str().encode())
    write("cases.json", json.dumps(cases(gpt2, qwen), indent=0).encode())
    print(f"tokenizers {tokenizers.__version__}, Python {sys.version.split()[0]}: {len(data)} bytes, {len(rows) - 1} pieces")
    for path in sorted(glob.glob(os.path.join(DATA, "*"))):
        print(f"{os.path.getsize(path):8d} {os.path.basename(path)}")


if __name__ == "__main__":
    main()

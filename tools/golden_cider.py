#!/usr/bin/env python3
"""Makes tests/data/eval/cider.json with coco-caption's own code: PTBTokenizer (Stanford's, through java) and CIDEr-D.

    apt-get install default-jre-headless
    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install pycocoevalcap==1.2
    /tmp/venv/bin/python tools/golden_cider.py tests/data/eval/cider.json

The captions are written or composed here; none comes from a data set.  Captions that end in a single letter and a full
stop are left out: there the original looks at the first word of the next caption.
"""
import json
import random
import sys

from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

ODD = """
A man's dog, who doesn't like the neighbours' colour-coded cat; isn't it?
Don't can't won't: I'm sure they're what we'll need.
A sign says "STOP" on Main St. near Mr. Smith's shop.
“Curly quotes” and ‘single ones’ around it’s and don’t
A (small) [square] {curly} <angle> bracket
<b>bold</b> text &amp; markup<br/>
3.14 is about 22/7, and 1,000,000 is 10^6.
50% off: $200, £5.50, €7 or 5¢!
½ cup of flour, 1 1/2 cups of milk and 2¼ spoons
The 1st, 2nd and 3rd place; the 90's and the '80s
The clock shows 10:30 a.m., not 10:30pm.
Built 3-4 years ago, around 1998-2001
Mail me@example.org or see http://www.example.org/a?b=c.
The U.S. flag flies at 5 p.m. in Washington D.C. The man waves.
hello... wait.. what!? really?! yes!!!
dashes - here -- there --- and – there — too
twenty-one black-and-white T-shirts, x-rays and e-mails
café naïve Zürich Ångström piñata
日本語 の 看板
Вывеска на русском языке
An emoji 😀 and a heart ❤️ and a snowman ☃
cat/dog and/or w/ a hat
AT&T and R&B; rock'n'roll at five o'clock by O'Brien
foo_bar foo.bar photo.jpg C++ C# and .NET
*starred* ~tilde ^ = + | \\ / `tick`
5'10" tall, a 6" ruler and 2x4 planks
A 64-bit 1080p 4K screen, 25°C inside, 5kg
7-Eleven on 12/25/2020, or 2008-09-13
The end.A new start.
:) ;-) <3 #hashtag @user
gonna gotta wanna lemme gimme cannot
'tis the season; 'twas the night; y'all come
d'Artagnan, L'Oreal and l'eau; cap'n and ol' Joe
Call 555-1234 or (555) 123-4567
fig. 3, no. 5, No. 7, pp. 12 and vol. 2
Jan. 5, Sept. 3, Fri. evening, approx. ten
Dr. Who vs. Prof. X, Jr. and Sr.
¿Qué es? ¡Hola!
™ © ® ± × ÷ µ ² §
a\ttab and  two spaces
1. first 2. second 3. third
.5 and -5 and +3 and 3.x
«guillemets» „low“ ‚quotes‘
An "unclosed quote
mid"word quote and ''two'' singles
...
!
The Hawker Hurricane Mk. I, a British fighter
Person (m/f) wearing a size-42 shoe
H2O, CO2 and B2B
"""

NOUNS = "man woman dog cat horse bus train boat kite surfboard pizza clock vase laptop giraffe zebra bear bird truck " \
        "bicycle skateboard umbrella table sofa kitchen street field beach mountain tower".split()
ADJECTIVES = "red small black-and-white old wooden half-eaten large blue snow-covered empty busy two-storey".split()
VERBS = "standing sitting riding flying parked lying running looking waiting leaning".split()
PLACES = ["on a table", "near the beach", "in front of a building", "at the bus stop", "next to a tree",
          "on top of a hill", "in the kids' room", "behind the man's car", "under the 10-foot bridge", "by the sea"]
ENDS = ["", ".", ".", "!", " .", ", isn't it?", "; nobody's there.", " (left)", " - close-up", " at 5 p.m.", "..."]


def compose(rng, subject, verb, place):
    words = [rng.choice(["A", "The", "a", "One", "Two"])]
    if rng.random() < 0.6:
        words.append(rng.choice(ADJECTIVES))
    words += [subject if rng.random() < 0.85 else rng.choice(NOUNS)]
    words += [rng.choice(["is", "that's", "", ""]), verb if rng.random() < 0.7 else rng.choice(VERBS)]
    words.append(place if rng.random() < 0.7 else rng.choice(PLACES))
    return " ".join(w for w in words if w) + rng.choice(ENDS)


def main():
    rng = random.Random(20240314)
    odd = [line.replace("\\t", "\t") for line in ODD.strip().split("\n")]
    items = []
    for i, line in enumerate(odd):
        references = [line, odd[(i + 1) % len(odd)]] if i % 2 else [odd[i - 1] + " " + line.lower()]
        items.append((line, references))
    for _ in range(220):
        subject, verb, place = rng.choice(NOUNS), rng.choice(VERBS), rng.choice(PLACES)
        references = [compose(rng, subject, verb, place) for _ in range(rng.randint(1, 5))]
        kind = rng.random()
        if kind < 0.1:
            candidate = references[0]
        elif kind < 0.15:
            candidate = ""
        elif kind < 0.25:
            candidate = " ".join([subject] * rng.randint(1, 12))
        elif kind < 0.35:
            candidate = rng.choice(odd)
        else:
            candidate = compose(rng, subject, verb, place)
        items.append((candidate, references))

    tokenizer = PTBTokenizer()
    candidates = tokenizer.tokenize({i: [{"caption": c}] for i, (c, _) in enumerate(items)})
    references = tokenizer.tokenize({i: [{"caption": r} for r in rs] for i, (_, rs) in enumerate(items)})
    mean, scores = Cider().compute_score(references, candidates)
    out = {
        "mean": float(mean),
        "items": [
            {
                "candidate": c,
                "candidate_words": " ".join(candidates[i][0].split()),
                "references": rs,
                "reference_words": [" ".join(r.split()) for r in references[i]],
                "score": float(scores[i]),
            }
            for i, (c, rs) in enumerate(items)
        ],
    }
    with open(sys.argv[1], "w", encoding="utf-8") as f:
        json.dump(out, f, ensure_ascii=False, indent=0)
        f.write("\n")
    print(len(items), "items,", sum(len(r) for _, r in items), "references, mean", mean)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Makes tests/data/tiny: 40 pictures of 24 x 24 px with captions, for the tests that drive the program.

    tools/tiny_pictures.py      (Pillow 9.4; the pictures do not depend on the version, their compression may)
"""
import pathlib

from PIL import Image, ImageDraw

COLOURS = {"red": (200, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 200), "yellow": (230, 210, 40),
           "black": (20, 20, 20), "orange": (240, 140, 20), "purple": (130, 40, 160), "brown": (120, 80, 40)}
SHAPES = {"square": lambda d, c: d.rectangle((5, 5, 18, 18), fill=c),
          "circle": lambda d, c: d.ellipse((4, 4, 19, 19), fill=c),
          "triangle": lambda d, c: d.polygon(((12, 4), (20, 19), (3, 19)), fill=c),
          "cross": lambda d, c: (d.rectangle((10, 3, 13, 20), fill=c), d.rectangle((3, 10, 20, 13), fill=c)),
          "bar": lambda d, c: d.rectangle((2, 9, 21, 14), fill=c)}

out = pathlib.Path(__file__).resolve().parent.parent / "tests/data/tiny"
out.mkdir(parents=True, exist_ok=True)
for shape, draw in SHAPES.items():
    for name, colour in COLOURS.items():
        picture = Image.new("RGB", (24, 24), (255, 255, 255))
        draw(ImageDraw.Draw(picture), colour)
        picture.quantize(4).save(out / f"{name}-{shape}.png", optimize=True)
        (out / f"{name}-{shape}.txt").write_text(f"This is a {name} {shape} on white.\n")

#!/usr/bin/env python3
"""Makes tests/data/drawn: four pictures of kinds that the released model knows, drawn here and in no data set.

    tools/drawn_pictures.py      (Pillow 13.0; the pictures do not depend on the version, their compression may)
"""
import math
import pathlib

from PIL import Image, ImageDraw

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
out = pathlib.Path(__file__).resolve().parent.parent / "tests/data/drawn"
out.mkdir(parents=True, exist_ok=True)


def canvas(width, height, colour=WHITE):
    picture = Image.new("RGB", (width, height), colour)
    return picture, ImageDraw.Draw(picture)


def save(picture, name):
    picture.save(out / f"{name}.png", optimize=True)


picture, d = canvas(96, 64)
d.rectangle((0, 0, 31, 63), fill=(0, 60, 160))
d.rectangle((64, 0, 95, 63), fill=(220, 30, 50))
save(picture, "flag")

picture, d = canvas(96, 96)
brown = (90, 60, 20)
d.ellipse((2, 2, 93, 93), fill=(255, 205, 50))
d.ellipse((26, 30, 38, 46), fill=brown)
d.ellipse((58, 30, 70, 46), fill=brown)
d.arc((25, 35, 70, 76), 20, 160, fill=brown, width=5)
save(picture, "face")

picture, d = canvas(128, 96)
d.rectangle((16, 8, 120, 80), outline=BLACK)
d.line([(16 + i, 44 - 28 * math.sin(i / 12)) for i in range(104)], fill=(31, 119, 180), width=2)
save(picture, "plot")

picture, d = canvas(128, 96, (235, 235, 235))
grey = (120, 120, 120)
d.rectangle((0, 0, 127, 14), fill=(90, 90, 90))
d.rectangle((10, 30, 118, 44), fill=WHITE, outline=grey)
d.rectangle((10, 52, 118, 66), fill=WHITE, outline=grey)
d.rectangle((80, 76, 118, 90), fill=(210, 210, 210), outline=grey)
save(picture, "dialog")

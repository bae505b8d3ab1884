#!/usr/bin/python3
"""Makes tests/data/image: small pictures of every kind and the RGB bytes that Pillow 9.4 gives for them.

Run with Debian's Python (Pillow 9.4, libjpeg-turbo 2.1.5, libwebp 1.2.4):  /usr/bin/python3 tools/golden_image.py

  src/<name>.<png|jpg|webp>   the pictures
  golden.bin                  records, little-endian:
      u32 kind; char[32] name; u32 a, b, width, height; u8 rgb[height, width, 3]
    kind 0: the decoded picture <name>
    kind 1: the same resized to width x height with filter a (0 bilinear, 1 bicubic)
    kind 2: fitted to a square of `width` by a = fit (1 pad, 2 crop), with filter b
Nothing here needs the network or the time: a second run writes the same bytes.
"""
import io
import os
import random
import struct
import sys
import warnings
import zlib

import PIL
from PIL import Image, ImageOps

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "data", "image")
FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
warnings.simplefilter("ignore")
rng = random.Random(20)


def canonical(data):
    """What mm1_image_decode() promises."""
    im = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if im.mode in ("RGBA", "LA", "PA") or "transparency" in im.info:
        im = im.convert("RGBA")
        im = Image.alpha_composite(Image.new("RGBA", im.size, (255, 255, 255, 255)), im)
    return im.convert("RGB")


def chunk(tag, data):
    return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))


ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def pack_row(samples, depth):
    if depth == 16:
        return struct.pack(">%dH" % len(samples), *samples)
    if depth == 8:
        return bytes(samples)
    out, per = bytearray(), 8 // depth
    for i in range(0, len(samples), per):
        part = samples[i:i + per] + [0] * (per - len(samples[i:i + per]))
        byte = 0
        for v in part:
            byte = byte << depth | v
        out.append(byte)
    return bytes(out)


def png(w, h, depth, color, pixel, extra=b"", interlace=0, tail=b""):
    """pixel(x, y) gives the samples of one pixel."""
    raw = b""
    for x0, y0, dx, dy in (ADAM7 if interlace else ((0, 0, 1, 1),)):
        for y in range(y0, h, dy):
            samples = [v for x in range(x0, w, dx) for v in pixel(x, y)]
            if samples:
                raw += b"\0" + pack_row(samples, depth)
    header = struct.pack(">IIBBBBB", w, h, depth, color, 0, 0, interlace)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(raw, 9)) + tail
            + chunk(b"IEND", b""))


def scene(w, h, mode="RGB"):
    """Smooth colours, an edge and some noise."""
    im = Image.new("RGB", (w, h))
    im.putdata([((x * 255 // max(1, w - 1)) ^ (rng.randrange(256) if (x + y) % 7 == 0 else 0),
                 (y * 255 // max(1, h - 1)), 255 if x > y else (x * y) % 256) for y in range(h) for x in range(w)])
    if mode in ("RGBA", "LA"):
        im.putalpha(Image.frombytes("L", (w, h), bytes((x * 29 + y * 13) % 256 for y in range(h) for x in range(w))))
    return im.convert(mode)


def save(im, fmt, **kw):
    out = io.BytesIO()
    im.save(out, fmt, **kw)
    return out.getvalue()


def tiff(orientation, big=False, typ=3, entries=1):
    e = ">" if big else "<"
    value = struct.pack(e + ("HH" if typ == 3 else "I"), *([orientation, 0] if typ == 3 else [orientation]))
    ifd = struct.pack(e + "H", entries + 1)
    for i in range(entries):
        ifd += struct.pack(e + "HHII", 0x100 + i, 4, 1, 7)
    ifd += struct.pack(e + "HHI", 0x112, typ, 1) + value + struct.pack(e + "I", 0)
    return (b"MM\0*" if big else b"II*\0") + struct.pack(e + "I", 8) + ifd


def riff(chunks):
    body = b"WEBP"
    for tag, data in chunks:
        body += tag + struct.pack("<I", len(data)) + data + b"\0" * (len(data) & 1)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def make_pngs(add):
    for depth in (1, 2, 4, 8, 16):
        top = (1 << depth) - 1
        for inter in (0, 1):
            tag = "_i" if inter else ""
            grey = (lambda t: lambda x, y: [(x * 37 + y * 101) % (min(t, 400) + 1)])(top)
            add("grey%d%s.png" % (depth, tag), png(13, 9, depth, 0, grey, interlace=inter))
            if depth <= 8:
                n = min(1 << depth, 200)
                plte = chunk(b"PLTE", bytes((i * 53 + c * 91) % 256 for i in range(n) for c in range(3)))
                idx = (lambda m: lambda x, y: [(x * 5 + y * 3) % m])(n)
                trns = chunk(b"tRNS", bytes((i * 77) % 256 for i in range(n)))
                add("pal%d%s.png" % (depth, tag), png(13, 9, depth, 3, idx, plte, inter))
                add("pal%d_trns%s.png" % (depth, tag), png(13, 9, depth, 3, idx, plte + trns, inter))
            else:
                wide = lambda n: (lambda x, y: [(x * 4099 + y * 10007 + c * 20011) % 65536 for c in range(n)])
                for color, n in ((2, 3), (4, 2), (6, 4)):
                    add("deep%d%s.png" % (color, tag), png(13, 9, 16, color, wide(n), interlace=inter))
            if depth == 8:
                for color in (2, 4, 6):
                    n = CHANNELS[color]
                    px = (lambda m: lambda x, y: [(x * 19 + y * 31 + c * 67) % 256 for c in range(m)])(n)
                    add("byte%d%s.png" % (color, tag), png(13, 9, 8, color, px, interlace=inter))
    ramp = lambda x, y: [(x + y) % 4]
    short = chunk(b"PLTE", bytes([10, 20, 30, 40, 50, 60]))
    for key in (0, 1, 85, 255):
        t = chunk(b"tRNS", struct.pack(">H", key))
        add("key2_%d.png" % key, png(7, 3, 2, 0, ramp, t))
        add("key1_%d.png" % key, png(7, 3, 1, 0, lambda x, y: [(x + y) % 2], t))
        add("key8_%d.png" % key, png(7, 3, 8, 0, lambda x, y: [(0, 1, 85, 255)[(x + y) % 4]], t))
        add("key16_%d.png" % key, png(7, 3, 16, 0, lambda x, y: [(0, 1, 85, 300)[(x + y) % 4]], t))
    add("key16_300.png", png(7, 3, 16, 0, lambda x, y: [(0, 44, 300, 65535)[(x + y) % 4]],
                             chunk(b"tRNS", struct.pack(">H", 300))))
    rgb = lambda x, y: ([1, 2, 3], [200, 2, 3], [1, 200, 3])[(x + y) % 3]
    add("keyrgb.png", png(7, 3, 8, 2, rgb, chunk(b"tRNS", struct.pack(">3H", 1, 2, 3))))
    add("keyrgb_i.png", png(7, 3, 8, 2, rgb, chunk(b"tRNS", struct.pack(">3H", 1, 2, 3)), 1))
    deep = lambda x, y: [v * 257 for v in rgb(x, y)]
    add("keyrgb16.png", png(7, 3, 16, 2, deep, chunk(b"tRNS", struct.pack(">3H", 257, 514, 771))))
    add("pal_short.png", png(5, 2, 8, 3, lambda x, y: [(0, 1, 2, 200, 255)[x]], short))
    add("pal_short_trns.png", png(5, 2, 8, 3, lambda x, y: [(0, 1, 2, 200, 255)[x]], short + chunk(b"tRNS", b"\x80")))
    add("pal_simple.png", png(5, 2, 8, 3, lambda x, y: [x % 2], short + chunk(b"tRNS", b"\xff\0")))
    noise = lambda x, y: [(x * 7 + y * y) % 256, (x * y) % 256, y]
    add("one.png", png(1, 1, 8, 2, noise))
    add("one_i.png", png(1, 1, 8, 2, noise, interlace=1))
    add("exif6.png", png(5, 3, 8, 2, noise, chunk(b"eXIf", tiff(6, True))))
    add("exif8_late.png", png(5, 3, 8, 2, noise, tail=chunk(b"eXIf", tiff(8))))
    add("gamma.png", png(5, 3, 8, 2, noise, chunk(b"gAMA", struct.pack(">I", 100000)) + chunk(b"bKGD", b"\0\1\0\2\0\3")))
    add("filtered.png", save(scene(40, 31), "PNG", optimize=True))
    two_idats = png(9, 9, 8, 2, noise)
    at = two_idats.index(b"IDAT") - 4
    n = struct.unpack(">I", two_idats[at:at + 4])[0]
    data = two_idats[at + 8:at + 8 + n]
    add("split.png", two_idats[:at] + b"".join(chunk(b"IDAT", data[i:i + 5]) for i in range(0, n, 5))
        + two_idats[at + 12 + n:])


def with_app1(jpeg, body):
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def make_jpegs(add):
    im = scene(37, 23)
    add("rgb420.jpg", save(im, "JPEG", quality=75))
    add("rgb422.jpg", save(im, "JPEG", quality=85, subsampling=1))
    add("rgb444.jpg", save(im, "JPEG", quality=95, subsampling=0))
    add("progressive.jpg", save(im, "JPEG", quality=80, progressive=True))
    add("optimised.jpg", save(im, "JPEG", quality=81, optimize=True))
    add("grey.jpg", save(im.convert("L"), "JPEG", quality=80))
    add("grey_progressive.jpg", save(im.convert("L"), "JPEG", quality=80, progressive=True))
    add("cmyk.jpg", save(im.convert("CMYK"), "JPEG", quality=85))
    cmyk = Image.merge("CMYK", [scene(37, 23).convert("L").rotate(90 * i).resize((37, 23)) for i in range(4)])
    add("cmyk_ink.jpg", save(cmyk, "JPEG", quality=85))
    add("cmyk_progressive.jpg", save(cmyk, "JPEG", quality=85, progressive=True))
    # The same data with Adobe's transform 2 are YCCK; without the Adobe marker, plain CMYK.
    plain = save(cmyk, "JPEG", quality=85)
    at = plain.index(b"\xff\xee")
    end = at + 2 + struct.unpack(">H", plain[at + 2:at + 4])[0]
    add("ycck.jpg", plain[:end - 1] + b"\x02" + plain[end:])
    add("cmyk_no_adobe.jpg", plain[:at] + plain[end:])
    base = save(scene(11, 6), "JPEG", quality=90)
    for o in range(0, 10):
        add("exif%d.jpg" % o, with_app1(base, b"Exif\0\0" + tiff(o, big=o % 2 == 0, entries=o % 3)))
    add("exif_long.jpg", with_app1(base, b"Exif\0\0" + tiff(3, typ=4)))
    add("exif_twice.jpg", with_app1(with_app1(base, b"Exif\0\0" + tiff(3)), b"Exif\0\0" + tiff(6)))
    add("rgb_adobe.jpg", base[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0" + base[base.index(b"\xff\xdb"):])
    add("garbage_after.jpg", base + bytes(range(200)))
    add("one.jpg", save(scene(1, 1), "JPEG"))
    add("tall.jpg", save(scene(3, 61), "JPEG", quality=60))
    add("odd_sampling.jpg", odd_sampling(save(scene(32, 16), "JPEG", subsampling=0)))


def odd_sampling(jpeg):
    """All components 2x1, which no named subsampling describes; the order of the blocks, so the picture, is scrambled."""
    at = jpeg.index(b"\xff\xc0")
    out = bytearray(jpeg)
    for c in range(3):
        out[at + 11 + 3 * c] = 0x21
    return bytes(out)


def make_webps(add):
    im, alpha = scene(37, 23), scene(37, 23, "RGBA")
    add("lossy.webp", save(im, "WEBP", quality=70))
    add("lossless.webp", save(im, "WEBP", lossless=True))
    add("lossy_alpha.webp", save(alpha, "WEBP", quality=70))
    add("lossless_alpha.webp", save(alpha, "WEBP", lossless=True, exact=True))
    add("exif7.webp", save(scene(11, 6), "WEBP", quality=80, exif=tiff(7)))
    add("exif5.webp", save(scene(11, 6), "WEBP", quality=80, exif=b"Exif\0\0" + tiff(5, True)))
    add("one.webp", save(scene(1, 1), "WEBP"))
    frames = [scene(17, 12, "RGBA") for _ in range(3)]
    add("animated.webp", save(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True))
    # A first frame smaller than its canvas, once with and once without the ALPHA flag.
    still = save(scene(8, 6), "WEBP", quality=80)
    part = still[12:]
    frame = struct.pack("<I", 2)[:3] + struct.pack("<I", 1)[:3] + struct.pack("<I", 7)[:3] + struct.pack("<I", 5)[:3] \
        + struct.pack("<I", 100)[:3] + b"\0" + part
    anim = struct.pack("<IH", 0, 0)
    canvas = struct.pack("<I", 16)[:3] + struct.pack("<I", 9)[:3]
    for name, flags in (("partial.webp", 0x02), ("partial_alpha.webp", 0x12)):
        add(name, riff([(b"VP8X", struct.pack("<I", flags) + canvas), (b"ANIM", anim), (b"ANMF", frame)]))


def pad_square(im):
    side = max(im.size)
    out = Image.new("RGB", (side, side), (255, 255, 255))
    out.paste(im, ((side - im.width) // 2, (side - im.height) // 2))
    return out


def crop_square(im, r, resample):
    w, h = im.size
    full = (w * r // h, r) if w > h else (r, h * r // w)
    im = im.resize(full, resample)
    x, y = (full[0] - r) // 2, (full[1] - r) // 2
    return im.crop((x, y, x + r, y + r))


def main():
    if not PIL.__version__.startswith("9.4"):
        sys.exit("Pillow %s: run with Debian's /usr/bin/python3, which has 9.4" % PIL.__version__)
    os.makedirs(os.path.join(ROOT, "src"), exist_ok=True)
    for old in os.listdir(os.path.join(ROOT, "src")):
        os.unlink(os.path.join(ROOT, "src", old))
    records = []

    def record(kind, name, a, b, im):
        records.append(struct.pack("<I32sIIII", kind, name.encode(), a, b, *im.size) + im.tobytes())

    def add(name, data):
        with open(os.path.join(ROOT, "src", name), "wb") as f:
            f.write(data)
        record(0, name, 0, 0, canonical(data))

    make_pngs(add)
    make_jpegs(add)
    make_webps(add)

    sizes = {
        "filtered.png": ((40, 31), (40, 62), (80, 31), (13, 7), (7, 31), (40, 5), (1, 1), (1, 31), (40, 1), (97, 83),
                         (39, 30), (41, 32), (20, 15), (64, 64), (21, 3)),
        "one.png": ((1, 1), (5, 3), (64, 1)),
        "tall.jpg": ((3, 7), (30, 61), (1, 100), (22, 22), (65, 2)),
        "lossless_alpha.webp": ((16, 16), (56, 14), (50, 40)),
    }
    for name, wanted in sizes.items():
        with open(os.path.join(ROOT, "src", name), "rb") as f:
            im = canonical(f.read())
        for size in wanted:
            for a, resample in enumerate(FILTERS):
                record(1, name, a, 0, im.resize(size, resample))
        for r in (1, 14, 31, 33, 40):
            for b, resample in enumerate(FILTERS):
                record(2, name, 1, b, pad_square(im).resize((r, r), resample))
                record(2, name, 2, b, crop_square(im, r, resample))
    with open(os.path.join(ROOT, "golden.bin"), "wb") as f:
        f.write(b"".join(records))
    total = sum(os.path.getsize(os.path.join(d, n)) for d, _, names in os.walk(ROOT) for n in names)
    print("%d records, %d bytes in all" % (len(records), total))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Times JPEG -> 378 x 378 px beside Pillow and libvips, on one thread: from bytes in memory, in turns in one run.

  jpeg.py --mm1 build/release/bench_jpeg --photos FOLDER [--rounds 3] [--json FILE]

FOLDER holds JPEG photos at any depth; copies of at most 640 and 2048 px (quality 90) are made beside them, in
FOLDER/640 and FOLDER/2048.  Needs Pillow; libvips is measured if pyvips is there (bench/jpeg.sh says how to get both).

In each round every contestant takes its turn at every picture, so that a slow second hits all alike.  A picture's time
is its median over the rounds; a size's time and ratio are medians over its pictures.

  mm1 exact       all pixels are decoded, antialiased bicubic, both sides to 378, normalised to floats
  mm1 scaled      the same from the smallest DCT-scaled decode that is not below 5/4 of 378 px
  Pillow full     Image.resize(BICUBIC), to 8-bit RGB: bit for bit what mm1 exact resamples to with the same libjpeg
  Pillow draft    the same after Image.draft(378, 378): scaled decode to no less than the result
  vips cubic      all pixels are decoded, resize(kernel="cubic"), to 8-bit RGB
  vips thumbnail  thumbnail_buffer(size="force"): what vipsthumbnail does.  Scaled decode to no less than twice the
                  result, a box filter, Lanczos

Only mm1 converts to floats; the others stop at bytes.  "Resizing adds" counts that conversion.
"""
import argparse
import glob
import io
import json
import os
import statistics
import subprocess
import sys
import time

os.environ["VIPS_CONCURRENCY"] = "1"
from PIL import Image, features  # noqa: E402

try:
    import pyvips
    pyvips.cache_set_max(0)
except (ImportError, OSError):
    pyvips = None

R = 378
SIZES = (("640", 640), ("2048", 2048), ("original", None))


class Mm1:
    """bench_jpeg at the other end of two pipes."""

    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, mode, path):
        self.process.stdin.write("%s %d %s\n" % (mode, R, path))
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit("jpeg.py: bench_jpeg ended; what it said stands above")
        return float(answer)


def timed(convert):
    def run(path, data):
        begin = time.perf_counter()
        n = convert(data)
        took = time.perf_counter() - begin
        if n != 3 * R * R:
            sys.exit("jpeg.py: %s: %d bytes, not %d; is it RGB?" % (path, n, 3 * R * R))
        return took
    return run


def pillow_full(data):
    return len(Image.open(io.BytesIO(data)).convert("RGB").resize((R, R), Image.Resampling.BICUBIC).tobytes())


def pillow_draft(data):
    im = Image.open(io.BytesIO(data))
    im.draft("RGB", (R, R))
    return len(im.convert("RGB").resize((R, R), Image.Resampling.BICUBIC).tobytes())


def vips_cubic(data):
    im = pyvips.Image.new_from_buffer(data, "", access="sequential")
    return len(im.resize(R / im.width, vscale=R / im.height, kernel="cubic").write_to_memory())


def vips_thumbnail(data):
    return len(pyvips.Image.thumbnail_buffer(data, R, height=R, size="force").write_to_memory())


def make_photos(folder):
    """{size: [paths]}; copies are made once."""
    made = [os.path.join(folder, name) for name, side in SIZES if side]
    originals = [p for p in sorted(glob.glob(os.path.join(folder, "**", "*.jp*g"), recursive=True))
                 if not os.path.islink(p) and not p.startswith(tuple(m + os.sep for m in made))]
    photos = {name: [] for name, _ in SIZES}
    for path in originals:
        im = Image.open(path)
        if min(im.size) < R:
            continue  # not a photo of a wallpaper, but its thumbnail
        for name, side in SIZES:
            if side is None:
                photos[name].append(path)
                continue
            copy = os.path.join(folder, name, os.path.relpath(path, folder).replace(os.sep, "-"))
            photos[name].append(copy)
            if not os.path.exists(copy):
                os.makedirs(os.path.dirname(copy), exist_ok=True)
                small = im.convert("RGB")
                small.thumbnail((side, side), Image.Resampling.LANCZOS)
                small.save(copy + ".part", "JPEG", quality=90)
                os.rename(copy + ".part", copy)
    if not originals:
        sys.exit("jpeg.py: no JPEG in %s; bench/jpeg.sh fetches some" % folder)
    return photos


def measure(contestants, paths, rounds):
    """{contestant: [seconds of each picture]}"""
    times = {name: [[] for _ in paths] for name in contestants}
    for _ in range(rounds):
        for i, path in enumerate(paths):
            with open(path, "rb") as f:
                data = f.read()
            for name, run in contestants.items():
                times[name][i].append(run(path, data))
    return {name: [statistics.median(t) for t in rows] for name, rows in times.items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mm1", required=True)
    parser.add_argument("--photos", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", nargs="*", default=[name for name, _ in SIZES])
    parser.add_argument("--json")
    args = parser.parse_args()

    mm1 = Mm1(args.mm1)
    contestants = {"mm1 " + mode: (lambda mode: lambda path, data: mm1(mode, path))(mode)
                   for mode in ("exact", "scaled", "exact-decode", "scaled-decode")}
    contestants["Pillow full"] = timed(pillow_full)
    contestants["Pillow draft"] = timed(pillow_draft)
    if pyvips:
        contestants["vips cubic"] = timed(vips_cubic)
        contestants["vips thumbnail"] = timed(vips_thumbnail)
    peers = [name for name in contestants if not name.startswith("mm1")]
    versions = "Pillow %s (libjpeg-turbo %s)" % (Image.__version__, features.version("libjpeg_turbo"))
    versions += ", libvips %d.%d.%d" % tuple(map(pyvips.version, range(3))) if pyvips else ", libvips not there"
    print("JPEG to %d x %d, one thread, %s" % (R, R, versions))

    photos = make_photos(args.photos)
    result = {"side": R, "versions": versions, "rounds": args.rounds, "sizes": {}}
    for size in args.sizes:
        paths = photos[size]
        times = measure(contestants, paths, args.rounds)
        ms = {name: 1e3 * statistics.median(t) for name, t in times.items()}

        def ratio(slow, fast):
            return statistics.median(a / b for a, b in zip(times[slow], times[fast]))

        row = {"pictures": len(paths), "ms": ms, "ratio": {}, "resize_share_of_decode": {}}
        db = [mm1("psnr", p) for p in paths]
        row["scaled_psnr_db"] = {"median": statistics.median(db), "worst": min(db)}
        mpix = statistics.median(w * h / 1e6 for w, h in (Image.open(p).size for p in paths))
        row["megapixels"] = mpix
        print("\n%s px: %d pictures, median %.2f Mpixel" % (size, len(paths), mpix))
        print("  %-16s %9s   %s" % ("", "ms", "times as long as mm1 exact, mm1 scaled"))
        for name in contestants:
            if name in peers:
                row["ratio"][name] = {mode: ratio(name, "mm1 " + mode) for mode in ("exact", "scaled")}
                print("  %-16s %9.2f   %5.2f  %5.2f" % (name, ms[name], *row["ratio"][name].values()))
            elif not name.endswith("-decode"):
                share = ratio(name, name + "-decode") - 1
                row["resize_share_of_decode"][name] = share
                print("  %-16s %9.2f   resizing adds %.0f %% to decoding" % (name, ms[name], 100 * share))
        if min(db) > 100:
            print("  mm1 scaled gives the pixels of mm1 exact: nothing smaller will do")
        else:
            print("  mm1 scaled beside mm1 exact: PSNR median %.1f dB, worst %.1f dB" % (statistics.median(db), min(db)))
        result["sizes"][size] = row
    if args.json:
        with open(args.json, "w") as f:
            json.dump({"jpeg": result}, f, indent=1)
            f.write("\n")


if __name__ == "__main__":
    main()

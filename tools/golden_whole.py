#!/usr/bin/env python3
"""Makes the golden files of whole multimodal models with transformers (5.24, torch 2.15, Pillow 12.2).

    golden_whole.py tests/data/whole            writes all of them there
    golden_whole.py tests/data/whole images     only images.txt

images.txt: what the image processors make of pictures of odd sizes.  The Pillow processors are the reference ("slow"
ones: LlavaImageProcessorPil, LlavaNextImageProcessorPil, Idefics3ImageProcessorPil, CLIPImageProcessorPil); the
torchvision ones resample in another way.  Pillow 13 runs the vertical pass first where that is less work, which changes
last bits; earlier ones, with which models were trained, never do, and neither does mm1.  One line for each case:

    <mode> <width> <height> <tiles> <positions> <sha256 of pixel_values f32> <sha256 of rows i32>

Pictures are made by picture(), as in tests/model/test_image_layout.c.  Rows are those of image_layout.h: features that
hold their own number go through the model's own packing, with -2 as the newline.

Building, running and testing mm1 needs none of this.
"""
import hashlib
import pathlib
import sys
import types

import numpy as np
import PIL
import torch
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_next.modeling_llava_next import LlavaNextModel

R, PATCH = 28, 7  # a tile and its patches: 4 x 4
K = (R // PATCH) ** 2
GRIDS = [[1, 2], [2, 1], [2, 2], [3, 1], [1, 3]]
LONGEST = 4 * R
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
SIZES = [(28, 28), (40, 30), (30, 40), (100, 37), (37, 100), (56, 56), (57, 55), (1, 1), (3, 200), (200, 3), (111, 112),
         (13, 11), (84, 28), (640, 480), (333, 125)]


def picture(width, height):
    x, y, c = np.arange(width)[None, :, None], np.arange(height)[:, None, None], np.arange(3)[None, None, :]
    v = (x * 7 + y * 13 + c * 29 + (x * y + 17 * c) % 31 * 5) % 256
    return Image.fromarray(v.astype(np.uint8), "RGB")


def sha(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def anyres_rows(width, height, n_tiles):
    config = types.SimpleNamespace(vision_config=types.SimpleNamespace(image_size=R, patch_size=PATCH),
                                   image_grid_pinpoints=[[R * a, R * b] for a, b in GRIDS])
    features = torch.arange(n_tiles * K, dtype=torch.float64).reshape(n_tiles, K, 1)
    rows, _ = LlavaNextModel.pack_image_features(types.SimpleNamespace(config=config), [features],
                                                 [(height, width)], "default",
                                                 image_newline=torch.tensor([-2.0], dtype=torch.float64))
    return rows[0][:, 0].numpy().astype(np.int32)


def image_case(mode, width, height):
    image = picture(width, height)
    common = dict(image_mean=MEAN, image_std=STD)
    if mode == "crop":
        p = CLIPImageProcessorPil(size={"shortest_edge": R}, crop_size={"height": R, "width": R}, **common)
        pixels = p(image)["pixel_values"][0][None]
    elif mode == "pad":
        p = LlavaImageProcessorPil(size={"height": R, "width": R}, crop_size={"height": R, "width": R}, do_pad=True,
                                   **common)
        pixels = p(image)["pixel_values"][0][None]
    elif mode == "anyres":
        p = LlavaNextImageProcessorPil(size={"shortest_edge": R}, crop_size={"height": R, "width": R},
                                       image_grid_pinpoints=[[R * a, R * b] for a, b in GRIDS], **common)
        pixels = p(image)["pixel_values"][0]
    else:
        p = Idefics3ImageProcessorPil(size={"longest_edge": LONGEST}, max_image_size={"longest_edge": R},
                                      image_mean=[0.5] * 3, image_std=[0.5] * 3)
        pixels = p([[image]])["pixel_values"][0]
    pixels = np.asarray(pixels)
    assert pixels.dtype == np.float32 and pixels.shape[1:] == (3, R, R), (pixels.dtype, pixels.shape)
    n = len(pixels)
    rows = anyres_rows(width, height, n) if mode == "anyres" else np.arange(n * K, dtype=np.int32)
    return f"{mode} {width} {height} {n} {len(rows)} {sha(pixels)} {sha(rows)}"


def make_images(out):
    lines = []
    for mode in ("crop", "pad", "anyres", "splits"):
        for width, height in SIZES:
            try:
                lines.append(image_case(mode, width, height))
            except (TypeError, ValueError, ZeroDivisionError) as e:
                print(mode, width, height, "is refused:", e)
                lines.append(f"{mode} {width} {height} 0 0 - -")
    (out / "images.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    if int(PIL.__version__.split(".")[0]) > 12:
        sys.exit(f"Pillow {PIL.__version__} resamples in another order; install pillow==12.2.0")
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    what = sys.argv[2:] or ["images"]
    if "images" in what:
        make_images(folder)

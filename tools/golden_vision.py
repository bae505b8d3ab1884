#!/usr/bin/env python3
"""Makes golden files of image encoders with transformers (5.24.0, PyTorch 2.15.0, Pillow 12.3.0).

    golden_vision.py tests/data/vision [NAME...]

writes there

    positions.safetensors   grids of positions and what PyTorch's interpolate() makes of them
    pictures/*.png          small pictures of odd shapes
    <model>/                a tiny model with random weights as transformers saves it, and golden.safetensors: for each
                            picture "<picture>.pixels" of the slow image processor (Pillow), "<picture>.features"
                            (patches after the last norm) and "<picture>.pooled"; "<picture>@<px>.features" at other
                            resolutions, of which rows are left out where the metadata says "every"

Models compute in f64 from weights that f32 holds and are rounded at the end.  The processors that come with torchvision
("fast") resize by another rule; none is used here.  Pillow 13 resizes pictures vertically first if their height shrinks
much more than their width, which changes a few bytes: an older one is wanted.  Building, running and testing mm1 needs
none of this.
"""
import json
import math
import os
import pathlib
import sys
import zlib

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import numpy as np
import PIL
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import (CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModel, CLIPVisionModelWithProjection,
                          Dinov2Config, Dinov2Model, SiglipConfig, SiglipModel, SiglipVisionConfig, SiglipVisionModel)
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

sys.dont_write_bytecode = True
from golden_model import write_safetensors

torch.set_num_threads(1)
f32 = lambda x: x.detach().numpy().astype(np.float32)

# ---- positions ----

GRIDS = {16: (24, 27, 32, 40, 48, 16, 7, 1), 7: (16, 5), 1: (5,), 27: (12, 26), 37: (16,)}


def positions(folder):
    rng, out = np.random.default_rng(5), {}
    for side, others in GRIDS.items():
        first = 1 if side in (7, 37) else 0
        C = 3 if first else 1
        x = rng.standard_normal((first + side * side, C)).astype(np.float32)
        out[f"from.{first}.{side}"] = x
        grid = torch.tensor(x[first:].astype(np.float64)).reshape(1, side, side, C).permute(0, 3, 1, 2)
        for to in others:
            y = F.interpolate(grid, size=(to, to), mode="bicubic", align_corners=False)
            out[f"to.{first}.{side}.{to}"] = np.concatenate([x[:first], f32(y.permute(0, 2, 3, 1).reshape(-1, C))])
    write_safetensors(folder / "positions.safetensors", out, {"made_by": "tools/golden_vision.py"})


# ---- pictures ----

SHAPES = {"wide": (77, 31), "tall": (29, 64), "small": (13, 17)}


def picture(folder, name):
    """A ramp, a disc and noise, so that neighbours, edges and corners all differ."""
    width, height = SHAPES[name]
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([255 * x / width, 255 * y / height, 128 + 100 * np.sin(x / 3 + y / 5)], 2)
    rgb[(x - width / 3) ** 2 + (y - height / 2) ** 2 < (min(width, height) / 3) ** 2] = (250, 20, 60)
    rgb = (rgb + rng.integers(-9, 10, rgb.shape)).clip(0, 255).astype(np.uint8)
    Image.fromarray(rgb).save(folder / f"{name}.png", optimize=True)


# ---- models ----

SHAPE = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, patch_size=6)
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def clip(cls=CLIPVisionModel, **changes):
    return (cls(CLIPVisionConfig(**{**SHAPE, "intermediate_size": 24, "image_size": 30, **changes})),
            CLIPImageProcessorPil(size={"shortest_edge": 30}, crop_size={"height": 30, "width": 30}))


def siglip(resample=3, **changes):
    config = SiglipVisionConfig(**{**SHAPE, "intermediate_size": 20, "image_size": 30, **changes})
    size = {"height": config.image_size, "width": config.image_size}
    return SiglipVisionModel(config), SiglipImageProcessorPil(size=size, resample=resample)


def dinov2(crop=30, shorter=34, **changes):
    # Positions of a larger grid than the processor gives, as in the released models.
    return (Dinov2Model(Dinov2Config(**{**SHAPE, "mlp_ratio": 2, "image_size": 42, **changes})),
            BitImageProcessorPil(size={"shortest_edge": shorter}, crop_size={"height": crop, "width": crop},
                                 image_mean=MEAN, image_std=STD))


TEXT = dict(hidden_size=4, intermediate_size=4, num_hidden_layers=1, num_attention_heads=1, vocab_size=5,
            max_position_embeddings=3)


def whole_clip():
    vision = {**SHAPE, "intermediate_size": 24, "image_size": 30, "projection_dim": 7}
    return CLIPModel(CLIPConfig(vision_config=vision, text_config=TEXT, projection_dim=11)), clip()[1]


def whole_siglip():
    vision = {**SHAPE, "intermediate_size": 20, "image_size": 30}
    return SiglipModel(SiglipConfig(vision_config=vision, text_config=TEXT)), siglip()[1]


# What makes the model, its pictures, other resolutions, and of how many rows one is kept there.
MODELS = {
    "clip": (clip, SHAPES, (24, 42), 1),
    "clip_projection": (lambda: clip(CLIPVisionModelWithProjection, projection_dim=10), ("wide",), (), 1),
    "siglip": (siglip, SHAPES, (18, 48), 1),
    # SigLIP 2 at a fixed resolution: the same model, another filter.  32 px are no multiple of 6.
    "siglip2": (lambda: siglip(resample=2, image_size=32), ("wide", "small"), (), 1),
    "clip_whole": (whole_clip, ("small",), (), 1),
    "siglip_whole": (whole_siglip, ("small",), (), 1),
    "dinov2": (dinov2, SHAPES, (), 1),
    "dinov2_giant": (lambda: dinov2(use_swiglu_ffn=True), ("tall",), (), 1),
    "resolution": (lambda: dinov2(224, 256, hidden_size=8, patch_size=14, image_size=224, num_hidden_layers=1),
                   ("wide",), (224, 336, 378, 448, 560, 672), 53),
}


def randomise(model, rng):
    """Every value away from where training begins."""
    for name, p in model.named_parameters():
        std, mean = 0.2, 0.0
        if "norm" in name and name.endswith("weight") or "lambda" in name or "layrnorm.weight" in name:
            mean = 1.0
        elif "position" in name or "class_embedding" in name or "cls_token" in name or "probe" in name:
            std = 0.5
        elif p.dim() >= 2:
            std = 1 / math.sqrt(p[0].numel())
        p.data = torch.tensor((mean + std * rng.standard_normal(tuple(p.shape))).astype(np.float32))


def encode(model, pixels, anywhere):
    """pixel_values [1, 3, R, R] -> features [P, C], pooled [E]."""
    pixels = pixels.double()
    with torch.no_grad():
        if isinstance(model, CLIPModel):
            y = model.vision_model(pixels)
            last, pooled = y.last_hidden_state, model.visual_projection(y.pooler_output)
            norm = model.vision_model.post_layernorm
        elif isinstance(model, SiglipModel):
            y = model.vision_model(pixels)
            last, pooled, norm = y.last_hidden_state, y.pooler_output, None
        elif isinstance(model, CLIPVisionModelWithProjection):
            y = model(pixels)
            last, pooled = y.last_hidden_state, y.image_embeds
            norm = model.vision_model.post_layernorm
        else:
            y = model(pixels, **({"interpolate_pos_encoding": True} if anywhere else {}))
            last, pooled, norm = y.last_hidden_state, y.pooler_output, getattr(model, "post_layernorm", None)
        if isinstance(model, (CLIPModel, CLIPVisionModel, CLIPVisionModelWithProjection)):
            last = norm(last)  # transformers leaves it to those who pool
        return last[0] if isinstance(model, (SiglipModel, SiglipVisionModel)) else last[0, 1:], pooled[0]


def at_size(processor, px):
    """The same processor for another resolution."""
    new = type(processor)(**{**processor.to_dict()})
    if hasattr(new, "crop_size") and new.crop_size:
        scale = processor.size["shortest_edge"] / processor.crop_size["height"]
        new.size = {"shortest_edge": round(px * scale)}
        new.crop_size = {"height": px, "width": px}
    else:
        new.size = {"height": px, "width": px}
    return new


def make(folder, name):
    maker, pictures, sizes, every = MODELS[name]
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    model, processor = maker()
    model.eval()
    randomise(model, rng)
    model.save_pretrained(folder / name)
    processor.save_pretrained(folder / name)
    model, out = model.double(), {}
    for p in pictures:
        image = Image.open(folder / "pictures" / f"{p}.png").convert("RGB")
        pixels = processor(image, return_tensors="pt")["pixel_values"]
        if every == 1:
            features, pooled = encode(model, pixels, False)
            out[p + ".pixels"] = pixels[0].numpy().astype(np.float32)
            out[p + ".features"], out[p + ".pooled"] = f32(features), f32(pooled)
        for px in sizes if p in ("wide", "small") else ():
            pixels = at_size(processor, px)(image, return_tensors="pt")["pixel_values"]
            assert pixels.shape[2:] == (px, px)
            features, _ = encode(model, pixels, not isinstance(model, Dinov2Model))
            out[f"{p}@{px}.features"] = f32(features)[::every]
    write_safetensors(folder / name / "golden.safetensors", out,
                      {"made_by": "tools/golden_vision.py", "every": str(every)})


if __name__ == "__main__":
    assert int(PIL.__version__.split(".")[0]) < 13, PIL.__version__
    root = pathlib.Path(sys.argv[1])
    (root / "pictures").mkdir(parents=True, exist_ok=True)
    if not sys.argv[2:]:
        positions(root)
        for shape in SHAPES:
            picture(root / "pictures", shape)
    for model_name in sys.argv[2:] or MODELS:
        make(root, model_name)

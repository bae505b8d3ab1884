#!/usr/bin/env python3
"""Makes the golden files of whole multimodal models with transformers (5.24, torch 2.15, Pillow 12.2).

    golden_whole.py tests/data/whole               writes all of them there
    golden_whole.py tests/data/whole images CASE   only images.txt and one of the models

images.txt: what the image processors make of pictures of odd sizes.  The Pillow processors are the reference ("slow"
ones: LlavaImageProcessorPil, LlavaNextImageProcessorPil, Idefics3ImageProcessorPil, CLIPImageProcessorPil); the
torchvision ones resample in another way.  Pillow 13 runs the vertical pass first where that is less work, which changes
last bits; earlier ones, with which models were trained, never do, and neither does mm1.  One line for each case:

    <mode> <width> <height> <tiles> <positions> <sha256 of pixel_values f32> <sha256 of rows i32>

Pictures are made by picture(), as in tests/model/test_image_layout.c.  Rows are those of image_layout.h: features that
hold their own number go through the model's own packing, with -2 as the newline.

Models: <case>/ holds a tiny model with random weights as save_pretrained() writes it (two of them with the names of other
versions, three with the keys that the published files have), with tokenizer, image processor and chat template, and a picture.  <case>/golden.safetensors holds, for one message with that picture,

    ids        [T] i32: what apply_chat_template() and the processor give; -1 where a visual token or newline stands
    pixels     [tiles, 3, R, R]
    features   [slots, C]: what stands there, in order
    logits     [LAST, V]: of the last positions, f32, attention written out

Chat templates are the published ones; their SHA-256, by which mm1 knows them, are in src/model/chat_template.c.
chats.txt: for each template, ids of one message without a picture, by the tokenizer of any case.

Building, running and testing mm1 needs none of this.
"""
import hashlib
import json
import pathlib
import shutil
import sys
import types

import numpy as np
import PIL
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_next.modeling_llava_next import LlavaNextModel
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

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


# ---- chat templates: the published texts ----

CHATML_WITH = ("{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>"
               "system\nWORDS<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
               "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
               "{% endif %}")
TEMPLATES = {
    "vicuna": ("{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}"
               "{% endif %}{# Render all images first #}{% for content in message['content'] | selectattr('type', "
               "'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}{# Render all text next #}{% if message['role'] != "
               "'assistant' %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
               "{{ content['text'] + ' '}}{% endfor %}{% else %}{% for content in message['content'] | selectattr("
               "'type', 'equalto', 'text') %}{% generation %}{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}"
               "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"),
    "inst": ("{% for message in messages %}{% if message['role'] == 'system' %}{{ '<<SYS>>\n' + message['content'][0]"
             "['text'] + '\n<</SYS>>\n\n' }}{% elif message['role'] == 'user' %}{{ '[INST] ' }}{# Render all images "
             "first #}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}"
             "{% endfor %}{# Render all text next #}{% for content in message['content'] | selectattr('type', 'equalto',"
             " 'text') %}{{ content['text'] }}{% endfor %}{{' [/INST]' }}{% elif message['role'] == 'assistant' %}"
             "{{ ' ' + message['content'][0]['text'] + '<\\s> '}}{% else %}{{ raise_exception('Only user and assistant "
             "roles are supported!') }}{% endif %}{% endfor %}"),
    "chatml": ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
               "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
               "{% endif %}"),
    "idefics3": ("<|begin_of_text|>{% for message in messages %}{{message['role'].capitalize()}}{% if message['content']"
                 "[0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}{% for line in message['content'] %}{% if"
                 " line['type'] == 'text' %}{{line['text']}}{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}"
                 "{% endfor %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}"
                 "{% endif %}"),
    "smolvlm": ("<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}{% if message['content'][0]"
                "['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}{% for line in message['content'] %}{% if "
                "line['type'] == 'text' %}{{line['text']}}{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}"
                "{% endfor %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}"
                "{% endif %}"),
    "llama-3": ("{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = "
                "'<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + "
                "'<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}"
                "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
                "{% endif %}"),
    "smollm2": CHATML_WITH.replace("WORDS", "You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
    "qwen2": CHATML_WITH.replace("WORDS", "You are a helpful assistant."),
    # The published text has a branch for tools; without them it gives the same.
    "qwen2.5": CHATML_WITH.replace("WORDS", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
}
BOS = {"vicuna": "<s>", "inst": "<s>"}  # set by the tokenizer, not by the template
PLAIN_CONTENT = ("chatml", "llama-3", "smollm2", "qwen2", "qwen2.5")  # templates for texts alone
SPECIAL = ["<|endoftext|>", "<s>", "</s>", "<image>", "<|im_start|>", "<|im_end|>", "<fake_token_around_image>",
           "<global-img>", "<end_of_utterance>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
           "<|eot_id|>"] + [f"<row_{r}_col_{c}>" for r in (1, 2) for c in (1, 2)]
TEXT = ["USER: What is shown in this picture? ASSISTANT:", "[INST] What is in the picture? [/INST]",
        "User: What is in this picture?\nAssistant: user\n assistant\n"]
VOCAB = 320


def raw_tokenizer():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=SPECIAL,
                                                    initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                                    show_progress=False))
    return t


def tokenizer():
    return transformers.PreTrainedTokenizerFast(tokenizer_object=raw_tokenizer(), additional_special_tokens=SPECIAL,
                                                bos_token=None)


# ---- models ----

LAST = 12


def text_config():
    return transformers.LlamaConfig(vocab_size=VOCAB, hidden_size=24, intermediate_size=32, num_hidden_layers=2,
                                    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
                                    rms_norm_eps=1e-5)


def clip_config():
    return transformers.CLIPVisionConfig(hidden_size=16, intermediate_size=24, num_hidden_layers=3,
                                         num_attention_heads=2, image_size=28, patch_size=14, projection_dim=8)


def cases():
    """name -> model class, configuration, processor of (tokenizer), template, size of the picture"""
    image_id = SPECIAL.index("<image>")
    clip = dict(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    llava = dict(patch_size=14, vision_feature_select_strategy="default", image_token="<image>",
                 num_additional_image_tokens=1)
    common = dict(text_config=text_config(), image_token_index=image_id, vision_feature_layer=-2)
    pinpoints = [[28 * a, 28 * b] for a, b in GRIDS]
    splits = dict(size={"longest_edge": 56}, max_image_size={"longest_edge": 28})
    cut = dict(size={"longest_edge": 60}, max_image_size={"longest_edge": 30})  # no multiple of 7, as 384 is none of 14
    t = transformers
    return {
        "llava": (t.LlavaForConditionalGeneration, t.LlavaConfig(vision_config=clip_config(), **common),
                  lambda tok: t.LlavaProcessor(CLIPImageProcessorPil(**clip), tok, **llava), "vicuna", (50, 37)),
        "llava_next": (t.LlavaNextForConditionalGeneration,
                       t.LlavaNextConfig(vision_config=clip_config(), image_grid_pinpoints=pinpoints, **common),
                       lambda tok: t.LlavaNextProcessor(LlavaNextImageProcessorPil(image_grid_pinpoints=pinpoints,
                                                                                   **clip), tok, **llava),
                       "inst", (90, 60)),
        "idefics3": (t.Idefics3ForConditionalGeneration,
                     t.Idefics3Config(text_config=text_config(), image_token_id=image_id, scale_factor=2,
                                      vision_config=dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2,
                                                         num_attention_heads=2, image_size=28, patch_size=7)),
                     lambda tok: t.Idefics3Processor(Idefics3ImageProcessorPil(**splits), tok, image_seq_len=4),
                     "idefics3", (60, 40)),
        "smolvlm": (t.SmolVLMForConditionalGeneration,
                    t.SmolVLMConfig(text_config=text_config(), image_token_id=image_id, scale_factor=2,
                                    vision_config=dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2,
                                                       num_attention_heads=2, image_size=30, patch_size=7)),
                    lambda tok: t.Idefics3Processor(SmolVLMImageProcessorPil(**cut), tok, image_seq_len=4),
                    "smolvlm", (27, 61)),
    }


def draw(model, seed):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            x = torch.randn(p.shape, generator=g)
            if p.dim() > 1:
                p.copy_(x * (1.0 if "embed" in name and "patch" not in name else 1.5 / p[0].numel() ** 0.5))
            else:
                p.copy_(x * 0.3 if name.endswith("bias") or "newline" in name or "class" in name else 1 + 0.3 * x)


def messages(text, image):
    return [{"role": "user", "content": ([{"type": "image"}] if image else []) + [{"type": "text", "text": text}]}]


# Names as other versions of transformers have written them; from, to.
NAMES = {
    "llava": [("language_model.model.", "model.language_model."), ("language_model.lm_head.", "lm_head."),
              ("vision_tower.", "model.vision_tower."), ("multi_modal_projector.", "model.multi_modal_projector.")],
    "llava_next": [("vision_tower.", "vision_tower.vision_model.")],
}


# Keys of config.json and of its parts in the published folders, beside those that say the sizes; None: is not there.
CLIP_KEYS = {"vocab_size": 32000, "attention_dropout": None, "hidden_act": None, "initializer_factor": None,
             "initializer_range": None, "layer_norm_eps": None, "num_channels": None}
LLAMA_KEYS = {"_name_or_path": "lmsys/vicuna-7b-v1.5", "architectures": ["LlamaForCausalLM"], "torch_dtype": "float16",
              "attention_bias": None, "attention_dropout": None, "head_dim": None, "hidden_act": None, "mlp_bias": None,
              "initializer_range": None, "pretraining_tp": None, "rope_parameters": None, "use_cache": None,
              "tie_word_embeddings": None, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
LLAVA_KEYS = {"ignore_index": -100, "torch_dtype": "float16", "transformers_version": "4.36.0.dev0", "vocab_size": VOCAB,
              "dtype": None, "image_seq_length": None, "multimodal_projector_bias": None}
SMOLVLM_KEYS = {"_flash_attn_2_enabled": True, "architectures": ["VLlama3ForCausalLM"], "is_llama_config": True,
                "neftune_noise_alpha": 0.0, "perceiver_config": {"model_type": "vllama3", "resampler_depth": 6},
                "pixel_shuffle_factor": 2, "qk_layer_norms": False, "rope_interleaved": False, "rope_scaling": None,
                "rope_theta": 10000, "torch_dtype": "bfloat16", "use_resampler": False, "rope_parameters": None,
                "transformers.js_config": {"kv_cache_dtype": {"fp16": "float16"}}}
PUBLISHED = {
    "llava": {"": {**LLAVA_KEYS, "pad_token_id": 1}, "text_config": LLAMA_KEYS, "vision_config": CLIP_KEYS},
    "llava_next": {"": {**LLAVA_KEYS, "tie_word_embeddings": None}, "text_config": LLAMA_KEYS, "vision_config": CLIP_KEYS},
    "smolvlm": {"": {"pad_token_id": 128002, "use_reentrant_checkpointing": False, "vocab_size": VOCAB, "dtype": None,
                     "torch_dtype": "bfloat16", "transformers_version": "4.47.1", "_pad_token_id": None},
                "text_config": SMOLVLM_KEYS,
                "vision_config": {"max_image_size": {"longest_edge": 30}, "size": {"longest_edge": 60},
                                  "tie_word_embeddings": False, "use_base_siglip": False, "hidden_act": None,
                                  "attention_dropout": None, "initializer_range": None, "layer_norm_eps": None,
                                  "num_channels": None}},
}


def as_published(folder, name):
    path = folder / "config.json"
    root = json.loads(path.read_text())
    for part, keys in PUBLISHED.get(name, {}).items():
        of = root[part] if part else root
        of.update(keys)
        for key in [k for k in of if of[k] is None and (k in keys)]:
            del of[key]
    path.write_text(json.dumps(root, indent=2, sort_keys=True) + "\n")
    if name == "llava_next":
        path = folder / "preprocessor_config.json"
        root = {**json.loads(path.read_text()), "aspect_ratio_setting": "anyres", "processor_class": "LlavaNextProcessor"}
        path.write_text(json.dumps(root, indent=2, sort_keys=True) + "\n")


def rename(path, names):
    tensors = load_file(path)
    for old in list(tensors):
        for begin, other in names:
            if old.startswith(begin):
                tensors[other + old[len(begin):]] = tensors.pop(old)
                break
    save_file(tensors, path, metadata={"format": "pt"})


def make_model(out, name, model_class, config, processor_of, template, size):
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model = model_class(config)
    draw(model, sum(map(ord, name)))
    model.to(torch.bfloat16).save_pretrained(folder)
    tok = tokenizer()
    processor = processor_of(tok)
    (folder / "preprocessor_config.json").write_text(processor.image_processor.to_json_string())
    (folder / "tokenizer.json").write_text(json.dumps(json.loads(raw_tokenizer().to_str()), ensure_ascii=False,
                                                      separators=(",", ":")))
    if template in BOS:
        (folder / "tokenizer_config.json").write_text(json.dumps(
            {"add_bos_token": True, "bos_token": BOS[template], "eos_token": "</s>"}) + "\n")
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATES[template]}) + "\n")
    as_published(folder, name)
    image = picture(*size)
    image.save(folder / "picture.png")
    model = model_class.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    prompt = BOS.get(template, "") + processor.apply_chat_template(
        messages("What is shown in this picture?", True), chat_template=TEMPLATES[template],
        add_generation_prompt=True)
    inputs = processor(images=image, text=prompt, return_tensors="pt", add_special_tokens=False)
    ids = inputs["input_ids"][0]
    with torch.no_grad():
        logits = model(**{k: v for k, v in inputs.items()}).logits[0]
        extra = {"image_sizes": inputs["image_sizes"]} if "image_sizes" in inputs else {}
        if "pixel_attention_mask" in inputs:
            extra["pixel_attention_mask"] = inputs["pixel_attention_mask"]
        features = model.model.get_image_features(inputs["pixel_values"], return_dict=True, **extra).pooler_output
    features = torch.cat([f.reshape(-1, f.shape[-1]) for f in features])
    pixels = inputs["pixel_values"].reshape(-1, *inputs["pixel_values"].shape[-3:]).float()
    image_id = SPECIAL.index("<image>")
    shown = torch.where(ids == image_id, -1, ids).to(torch.int32)
    assert (shown == -1).sum() == len(features), (shown, features.shape)
    save_file({"ids": shown, "pixels": pixels.contiguous(), "features": features.contiguous(),
               "logits": logits[-LAST:].contiguous()}, folder / "golden.safetensors")
    rename(folder / "model.safetensors", NAMES.get(name, []))
    for f in list(folder.iterdir()):
        if f.name in ("generation_config.json",):
            f.unlink()
        else:
            f.chmod(0o644)
    print(name, len(ids), "ids,", len(pixels), "tiles, logits within", round(float(logits.abs().max()), 2),
          sum(f.stat().st_size for f in folder.iterdir()) // 1024, "KiB")


def make_chats(out):
    tok = tokenizer()
    lines = []
    inst = TEMPLATES["inst"].replace("<\\s>", "</s>")  # its later form, in which the end of an answer is spelled right
    print("inst", hashlib.sha256(inst.encode()).hexdigest())
    for name, template in TEMPLATES.items():
        print(name, hashlib.sha256(template.encode()).hexdigest())
        text = " What is shown?\n" if name == "llama-3" else "What is shown?"
        chat = [{"role": "user", "content": text}] if name in PLAIN_CONTENT else messages(text, False)
        prompt = BOS.get(name, "") + tok.apply_chat_template(chat, chat_template=template, tokenize=False,
                                                             add_generation_prompt=True, bos_token="<|begin_of_text|>")
        lines.append(" ".join([name] + [str(i) for i in tok(prompt, add_special_tokens=False)["input_ids"]]))
    (out / "chats.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    if int(PIL.__version__.split(".")[0]) > 12:
        sys.exit(f"Pillow {PIL.__version__} resamples in another order; install pillow==12.2.0")
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    what = sys.argv[2:]
    if not what or "images" in what:
        make_images(folder)
    if not what or "chats" in what:
        make_chats(folder)
    for case, parts in cases().items():
        if not what or case in what:
            make_model(folder, case, *parts)

#!/usr/bin/env python3
"""Compares what `mm1 convert --to hf` writes with what mm1 computes: transformers loads the folder, and its logits must
be those of `mm1 score --logits`.

    check_export.py build/release/mm1 [MODEL...]        MODEL: folders that mm1 loads (default: tests/data/model/hf/*)

Prints, for each model, the architecture and the largest difference of a logit, of the converted model to mm1's; and
whether the converted tokenizer gives the ids of the original one.  Exits with 1 if a difference is over 1e-4 of the
largest logit.  Needs torch, transformers and safetensors; building, running and testing mm1 does not.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

TEXT = "The quick brown fox, 365 days;  two spaces\nand a line.  naïve 漢字 🙂"
T = 24


def check(mm1, source, tmp):
    out, ids_file, logits_file = tmp / "hf", tmp / "ids.json", tmp / "logits.safetensors"
    subprocess.run([mm1, "convert", source, out, "--to", "hf", "--force"], check=True, stdout=subprocess.DEVNULL)
    config = json.loads((out / "config.json").read_text())
    n = min(T, config.get("max_position_embeddings", config.get("n_positions")))
    ids = torch.randint(0, config["vocab_size"], (n,), generator=torch.Generator().manual_seed(11))
    ids_file.write_text(json.dumps({"tokens": ids.tolist()}))
    subprocess.run([mm1, "score", "-m", source, "-d", ids_file, "--logits", logits_file], check=True,
                   stdout=subprocess.DEVNULL)
    ours = load_file(logits_file)["logits"]
    model, info = transformers.AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32,
                                                                    attn_implementation="eager",
                                                                    output_loading_info=True)
    with torch.no_grad():
        theirs = model.eval()(ids[None]).logits[0]
    off, most = (ours - theirs).abs().max().item(), theirs.abs().max().item()
    complete = not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    # Not AutoTokenizer: transformers 5 gives every model of type qwen2 the splits of Qwen's own tokenizer.
    tokens = transformers.PreTrainedTokenizerFast.from_pretrained(out)(TEXT, add_special_tokens=False)["input_ids"]
    want = transformers.PreTrainedTokenizerFast(tokenizer_file=str(source / "tokenizer.json"))
    same_ids = tokens == want(TEXT, add_special_tokens=False)["input_ids"]
    print(f"{source.name:16} {type(model).__name__:20} largest logit {most:6.2f}, difference {off:.1e}, "
          f"{'all tensors' if complete else 'TENSORS DIFFER'}, {'same ids' if same_ids else 'OTHER IDS'}")
    return off <= 1e-4 * most and complete and same_ids


def main():
    mm1 = pathlib.Path(sys.argv[1])
    here = pathlib.Path(__file__).resolve().parent.parent
    models = [pathlib.Path(m) for m in sys.argv[2:]]
    models = models or sorted(p.parent for p in (here / "tests/data/model/hf").glob("*/config.json"))
    ok = True
    with tempfile.TemporaryDirectory() as tmp:
        for m in models:
            ok = check(mm1, m, pathlib.Path(tmp)) and ok
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())

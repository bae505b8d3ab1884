"""Scores of the reference implementations, for the other tools here.

    apt-get install default-jre-headless
    python3 -m venv /tmp/venv
    /tmp/venv/bin/pip install numpy anls==0.0.2 && /tmp/venv/bin/pip install --no-deps pycocoevalcap==1.2 open-flamingo==2.0.1

Captions: coco-caption's tokenizer (Stanford's, through java), CIDEr-D, BLEU and ROUGE-L.  VQA accuracy: the official
script, as open_flamingo ships it (loaded from its file: the rest of that package is not needed).  ANLS: the package of
that name.  METEOR and SPICE are not asked for.

Everything is as the references give it: CIDEr-D as it is, all else from 0 to 1.
"""
import contextlib
import importlib.util
import io
import json
import os
import re
import tempfile

from anls.metrics import anls_score
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

os.environ["LC_ALL"] = "C.UTF-8"  # java reads files in the locale's encoding


def depends_on_the_next(caption):
    """The tokenizer reads "The letter R." as r or as r., whatever the caption in the next line begins with."""
    return re.search(r"(^|[^A-Za-z0-9])[A-Za-z0-9]\.$", caption.strip()) is not None


def caption_scores(items):
    """items: [(candidate, [reference])].  Back: {metric: (score of the set, [score of an item])}."""
    tokenizer = PTBTokenizer()
    references = tokenizer.tokenize({i: [{"caption": r} for r in x[1]] for i, x in enumerate(items)})
    candidates = tokenizer.tokenize({i: [{"caption": x[0]}] for i, x in enumerate(items)})
    out = {}
    for name, scorer in (("cider", Cider()), ("bleu4", Bleu(4)), ("rougel", Rouge())):
        more = {"verbose": 0} if name == "bleu4" else {}
        score, each = scorer.compute_score(references, candidates, **more)
        if name == "bleu4":
            out["bleu"] = ([float(s) for s in score], None)
            score, each = score[3], each[3]
        out[name] = (float(score), [float(s) for s in each])
    return out


def vqa_module():
    spec = importlib.util.find_spec("open_flamingo")
    path = os.path.join(os.path.dirname(spec.origin), "eval", "vqa_metric.py")
    source = importlib.util.spec_from_file_location("vqa_metric", path)
    module = importlib.util.module_from_spec(source)
    source.loader.exec_module(module)
    return module


def write_vqa(items, folder):
    """items: [(answer, [answer of a person])].  Back: the paths of questions, annotations and results."""
    about = {"info": {}, "license": {}, "task_type": "Open-Ended", "data_type": "", "data_subtype": ""}
    files = {
        "questions.json": {**about, "questions": [{"question_id": i, "image_id": i, "question": "?"} for i in range(len(items))]},
        "annotations.json": {**about, "annotations": [
            {"question_id": i, "image_id": i, "question_type": "none", "answer_type": "other",
             "answers": [{"answer": a, "answer_id": k + 1} for k, a in enumerate(x[1])]}
            for i, x in enumerate(items)]},
        "results.json": [{"question_id": i, "answer": x[0]} for i, x in enumerate(items)],
    }
    paths = []
    for name, content in files.items():
        paths.append(os.path.join(folder, name))
        with open(paths[-1], "w", encoding="utf-8") as f:
            json.dump(content, f, ensure_ascii=False)
    return paths


def vqa_scores(items):
    """The official evaluation of whole files, with all digits."""
    module = vqa_module()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        questions, annotations, results = write_vqa(items, folder)
        truth = module.VQA(annotations, questions)
        evaluation = module.VQAEval(truth, truth.loadRes(results, questions), n=14)
        evaluation.evaluate()
    return evaluation.accuracy["overall"] / 100, [evaluation.evalQA[i] / 100 for i in range(len(items))]


def anls_scores(items):
    """items: [(answer, [true answer])]."""
    each = [anls_score(answer, truths) for answer, truths in items]
    return sum(each) / len(each), each

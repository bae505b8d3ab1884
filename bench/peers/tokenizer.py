"""tokenizer.py - what bench_tokenizer measures, with the `tokenizers` package on one thread.

    RAYON_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false python tokenizer.py TOKENIZER.json TEXT.jsonl [ROUNDS]

Prints the lines of bench/bench_tokenizer.c, the version of the package, and "encode_batch": the time of one call of
encode_batch_fast() for all documents, which leaves out the offsets that encode() works out.  Lists of ids are made
outside the times.  Needs only `pip install tokenizers`; run with 0.23.3.
"""

import array
import hashlib
import json
import sys
import time

import tokenizers


def main():
    path, text = sys.argv[1:3]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    tokenizer = tokenizers.Tokenizer.from_file(path)
    with open(text, encoding="utf-8") as f:
        documents = [json.loads(line)["text"] for line in f]
    for _ in range(rounds):
        encode = decode = 0.0
        ids, decoded = array.array("i"), hashlib.sha256()
        for document in documents:
            start = time.process_time()
            encoding = tokenizer.encode(document, add_special_tokens=False)
            encode += time.process_time() - start
            own = encoding.ids
            start = time.process_time()
            back = tokenizer.decode(own, skip_special_tokens=False)
            decode += time.process_time() - start
            ids.extend(own)
            decoded.update(back.encode())
        start = time.process_time()
        encodings = tokenizer.encode_batch_fast(documents, add_special_tokens=False)
        batch = time.process_time() - start
        if sum(len(e) for e in encodings) != len(ids):
            sys.exit("tokenizer.py: encode_batch_fast() gives other ids than encode()")
        print(f"encode {encode:.6f}\nencode_batch {batch:.6f}\ndecode {decode:.6f}")
    assert ids.itemsize == 4 and sys.byteorder == "little"
    print(f"documents {len(documents)}\nbytes {sum(len(d.encode()) for d in documents)}\nids {len(ids)}")
    print(f"ids_sha256 {hashlib.sha256(ids.tobytes()).hexdigest()}\ntext_sha256 {decoded.hexdigest()}")
    print(f"version {tokenizers.__version__}")


main()

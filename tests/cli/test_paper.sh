#!/bin/sh
# The paper's models: their recipes plan to the printed sizes, and each of them takes one real step when it is narrow.
. "$(dirname "$0")/lib.sh"
make_tiny

number() { # number KEY FILE
    sed -n "s/^ *\"$1\": \([0-9.e+-]*\),*\$/\1/p" "$2" | head -n 1
}

# of NAME BILLIONS LEARNING-RATE WIDTH: the decoder without embeddings within 2 % of the printed size.
of() {
    recipe=$root/recipes/paper/$1.yaml
    expect 0 plan "$recipe" --gflops 1e6 --ranks 64 --json
    awk -v n="$(number decoder out)" -v want="$2e9" 'BEGIN { exit !(n > 0.98 * want && n < 1.02 * want) }' ||
        fail "$1: the decoder is not of $2 billion"
    awk -v lr="$(number lr_peak out)" -v want="$3" 'BEGIN { exit !(lr > 0.99 * want && lr < 1.01 * want) }' ||
        fail "$1: the learning rate is not $3"
    # Every stage of ZeRO takes less than the one before.
    for stage in zero_0 zero_1 zero_2 zero_3; do
        number $stage out
    done | awk 'NR > 1 && $1 >= last { exit 1 } { last = $1 } END { if (NR != 4) exit 1 }' || fail "$1: ZeRO stages"

    expect 0 pretrain "$recipe" --run "$1" --quiet --set train.n_steps=1 --set tokenizer=tokenizer.json \
        --set data.sources.captions.path='data/train/captions-*.tar' \
        --set data.sources.documents.weight=0 --set data.sources.text.weight=0 \
        --set data.seq_len=96 --set data.batch=2 --set data.workers=1 \
        --set model.vision.image_size=42 --set model.vision.width=32 --set model.vision.mlp_width=64 \
        --set model.connector.n_tokens=4 --set model.connector.hidden=16 \
        --set model.decoder.vocab_size=320 --set model.decoder.width="$4" --set model.decoder.mlp_width=64
    [ "$(grep -c '"loss"' "$1/metrics.jsonl")" -eq 1 ] || fail "$1: no step was taken"
}
of 1b 1.2 8.6e-5 32
of 3b 2.9 6e-5 48
of 7b 6.4 4e-5 64
of 30b 30 2e-5 112
of 3b-moe 64 6e-5 48
of 7b-moe 40 4e-5 64

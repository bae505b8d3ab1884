#!/bin/bash
# jpeg_loss.sh - what `data.jpeg: scaled` does to a model: losses of pairs of runs that differ in nothing else.
#
#   bench/jpeg_loss.sh [SEEDS [STEPS]]     3 seeds of 300 steps: two to five minutes on two cores
#
#   MM1_BUILD        build folder (default build/release)
#   MM1_BENCH_OUT    results (default out/bench): jpeg-loss.txt, and the runs below jpeg-loss/
#   MM1_TOKENIZER    default out/demo/tokenizer.json (scripts/demo-data.sh, or `make demo`)
#
# Photographs of two of the demo's packages, up to 1024 px and stored as JPEG, for the demo's model at 112 px: scaled
# decodes them to 1/2 or 1/4 of their sides.  Held-out captions are always read from pictures decoded whole, so that
# their loss also says what it costs to be trained on one kind of pixels and used on the other.  The figure is the mean
# over the seeds of (scaled - exact) with its standard error; the same seed gives the same batches in both.
set -eu
shopt -s inherit_errexit
cd "$(dirname "$0")/.."
mm1=${MM1_BUILD:-build/release}/mm1
out=${MM1_BENCH_OUT:-out/bench}
tokenizer=${MM1_TOKENIZER:-out/demo/tokenizer.json}
seeds=${1:-3} steps=${2:-300} last=50
runs=$out/jpeg-loss
[ -f "$tokenizer" ] || {
    echo "jpeg_loss: $tokenizer is not there: set MM1_TOKENIZER, or make it with \`make demo\`" >&2
    exit 1
}
rm -rf "$runs"
mkdir -p "$runs"
data=(--set build.out="$runs/data" --set build.max_px=1024 --set build.heldout_one_in=8
    --set 'build.sources=[{kind: landscapes}, {kind: nebulae}]')
"$mm1" data build recipes/demo.yaml "${data[@]}" >"$runs/build.log"

run() { # jpeg, seed
    local dir=$runs/$1-$2
    "$mm1" pretrain recipes/demo.yaml "${data[@]}" --run "$dir" --quiet --set tokenizer="$tokenizer" \
        --set data.sources="[{name: captions, kind: captions, path: \"$runs/data/train/captions-*.tar\"}]" \
        --set data.jpeg="$1" --set train.seed="$2" --set train.n_steps="$steps" --set train.max_minutes=0 \
        --set data.batch=1 --set train.micro_batch=1 --set train.lr_warmup_steps=30 \
        --set train.checkpoint_every="$steps" >"$dir.log" 2>&1
    "$mm1" eval --model "$dir/checkpoints/latest" --data "$runs/data" --tasks captions --json >"$dir.json" 2>>"$dir.log"
    # The mean loss of the last steps, and the held-out one.
    sed -n 's/.*"loss":\([^,}]*\).*/\1/p' "$dir/metrics.jsonl" | tail -n $last |
        awk '{ s += $1 } END { printf "%.6f ", s / NR }'
    tr -d ' \n' <"$dir.json" | sed 's/.*"caption_nll_per_token":{[^}]*"true":\([^,}]*\).*/\1\n/'
}

: >"$runs/pairs"
for seed in $(seq 1 "$seeds"); do
    exact=$(run exact "$seed")
    scaled=$(run scaled "$seed")
    echo "$seed $exact $scaled" >>"$runs/pairs"
done
awk '
    function said(name, n, s, q,   m, variance) {
        m = s / n
        variance = (q - n * m * m) / (n > 1 ? n - 1 : 1) / n
        printf "%s: scaled - exact %+.4f, standard error %.4f (%d seeds)\n", name, m, sqrt(variance > 0 ? variance : 0), n
    }
    BEGIN { printf "%4s %14s %14s %14s %14s\n", "seed", "train, exact", "scaled", "held out, exact", "scaled" }
    { printf "%4d %14.4f %14.4f %15.4f %14.4f\n", $1, $2, $4, $3, $5
      t = $4 - $2; ts += t; tq += t * t; h = $5 - $3; hs += h; hq += h * h }
    END { said("training loss, last steps", NR, ts, tq); said("held-out captions, nats a token", NR, hs, hq) }
' "$runs/pairs" | tee "$out/jpeg-loss.txt"

#!/bin/sh
# moe.sh - how long a step takes with a mixture of experts, beside a dense decoder of the same parameters for each position:
# 8 experts, of which each position takes two of half the dense MLP's width (bench/recipes/moe.yaml).
#
#   bench/moe.sh [PAIRS [EVERY]]     5 pairs, a sparse layer in every 2nd block
#
#   MM1            the program (default build/release/mm1)
#   MM1_THREADS    compute threads (default: all CPUs)
#
# The two take turns, a process each, three steps after one that warms up.  A line a pair, and the median ratio (sparse by
# dense).
set -eu
cd "$(dirname "$0")/.."
mm1=${MM1:-build/release/mm1}
pairs=${1:-5}
every=${2:-2}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

step() { # options...
    "$mm1" bench step --recipe bench/recipes/moe.yaml --images 0 --steps 3 --json "$@" >"$out/step.json"
    sed -n 's/^ *"step_seconds": \([0-9.e+-]*\),*$/\1/p' "$out/step.json"
}

for pair in $(seq "$pairs"); do
    dense=$(step)
    sparse=$(step --set "model.decoder.moe={n_experts: 8, top_k: 2, every: $every, mlp_width: 704}")
    echo "$dense $sparse" | awk '{ print $2 / $1 }' >>"$out/ratios"
    echo "pair $pair: dense $dense s, sparse $sparse s, ratio $(tail -n 1 "$out/ratios")"
done
sort -n "$out/ratios" | awk '
    { r[NR] = $1 }
    END { printf "median ratio %.3f of %d pairs\n", (r[int((NR + 1) / 2)] + r[int(NR / 2) + 1]) / 2, NR }'

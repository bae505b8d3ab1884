#!/bin/sh
# Mixtures of experts: training says how they are used and repeats itself to the bit; a dense model becomes a sparse one
# that says the same.
. "$(dirname "$0")/lib.sh"
make_tiny
moe='model.decoder.moe={n_experts: 4, capacity: 1}'

expect 0 pretrain tiny.yaml --run once --quiet --set train.n_steps=8 --set "$moe"
[ "$(grep -c '"moe_balance":1\.[0-9]*,"moe_z":[0-9.]*,"moe_load":[1-4]\.*[0-9]*,"moe_dropped":0\.[0-9]*' once/metrics.jsonl)" -eq 8 ] ||
    fail "the log says nothing of the experts: $(head -n 1 once/metrics.jsonl)"

# Stopped in the middle and continued; and with the blocks computed again.
expect 0 pretrain tiny.yaml --run halves --quiet --set train.n_steps=4 --set "$moe" --set train.lr_final=1
expect 0 pretrain tiny.yaml --run halves --quiet --set train.n_steps=8 --set "$moe" --set train.lr_final=1
expect 0 pretrain tiny.yaml --run whole --quiet --set train.n_steps=8 --set "$moe" --set train.lr_final=1
cmp halves/checkpoints/latest/model.safetensors whole/checkpoints/latest/model.safetensors || fail "resuming: other weights"
expect 0 pretrain tiny.yaml --run again --quiet --set train.n_steps=8 --set "$moe" --set train.activations=recompute
cmp again/checkpoints/latest/model.safetensors once/checkpoints/latest/model.safetensors || fail "recomputed: other weights"

# A dense model has no such figures.
expect 0 pretrain tiny.yaml --run dense --quiet --set train.n_steps=8
! grep -q moe_ dense/metrics.jsonl || fail "a dense model logs experts"
dense=dense/checkpoints/latest

expect 0 inspect once/checkpoints/latest
says out "experts    4 of width 96 in every 2. layer, 2 for a position" active
expect 0 inspect $dense
! grep -q 'experts\|active' out || fail "a dense model has experts"
expect 0 plan tiny.yaml --set model.decoder.moe.n_experts=4 --gflops 10
says out "active: one position's experts"

# Upcycling: the same score of every token but for rounding.
expect 0 upcycle $dense sparse --experts 8 --every 2 --seed 3
says out sparse/model.safetensors
[ ! -e sparse/optimizer.safetensors ] || fail "the training's state was copied"
says sparse/config.json '"n_experts": 8' '"top_k": 2'
echo '{"parts": [{"type": "text", "text": "A red flag and the sea."}]}' >document.json
expect 0 score --model $dense --document document.json --json
cp out score.dense
expect 0 score --model sparse --document document.json --json
tr -c '0-9.e+-' '\n' <out | grep '[0-9]' >numbers.sparse
tr -c '0-9.e+-' '\n' <score.dense | grep '[0-9]' >numbers.dense
paste numbers.dense numbers.sparse | awk '
    NF != 2 { bad = 1 }
    { d = $1 - $2; if (d < 0) d = -d; if (d > 1e-4) { print $1 " became " $2; bad = 1 } }
    END { exit bad || NR < 5 }' >diffs || fail "the sparse model says something else: $(head -n 3 diffs)"

# Training goes on from there.
expect 0 pretrain tiny.yaml --run begun --quiet --set train.n_steps=2 --set model.decoder.moe.n_experts=8 --set init.decoder=sparse
expect 3 pretrain tiny.yaml --run other --quiet --set train.n_steps=2 --set model.decoder.moe.n_experts=4 --set init.decoder=sparse
says err moe.router.weight

# Nothing is overwritten by mistake, and what cannot be done is said.
expect 1 upcycle $dense sparse --experts 4
says err "--force"
expect 0 upcycle $dense sparse --experts 4 --every 1 --top-k 1 --dtype bf16 --force
says sparse/config.json '"n_experts": 4'
expect 2 upcycle sparse again.sparse --experts 4
says err "sparse already"
[ ! -e again.sparse ] && [ ! -e again.sparse.tmp ] || fail "a failed upcycle left something behind"
expect 2 upcycle $dense
says err "OUT is wanted"
expect 2 upcycle $dense out.sparse
says err "--experts is wanted"
expect 2 upcycle $dense out.sparse --experts 4 --top-k 5
says err "top_k: 5 of 4"

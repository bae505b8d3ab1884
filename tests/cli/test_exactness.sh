#!/bin/sh
# The same recipe, seed and threads give the same bits, however often the run is killed, interrupted and continued.
. "$(dirname "$0")/lib.sh"
make_tiny
steps=20
set -- --set train.n_steps=$steps --quiet

# lines RUN: steps logged so far.
lines() {
    if [ -f "$1/metrics.jsonl" ]; then wc -l <"$1/metrics.jsonl"; else echo 0; fi
}

# reaches RUN N PID: waits until step N is logged or the program has ended.
reaches() {
    while [ "$(lines "$1")" -lt "$2" ] && kill -0 "$3" 2>kill.log; do
        sleep 0.01
    done
}

curve() {
    sed 's/^{"step":\([0-9]*\),.*"loss":\([^,}]*\),.*/\1 \2/' "$1/metrics.jsonl"
}

same() {
    cmp "$1/checkpoints/latest/model.safetensors" once/checkpoints/latest/model.safetensors || fail "$1: other weights"
    cmp "$1/checkpoints/latest/optimizer.safetensors" once/checkpoints/latest/optimizer.safetensors ||
        fail "$1: other moments"
    curve "$1" >curve
    cmp curve curve.once || fail "$1: other losses"
}

expect 0 pretrain tiny.yaml --run once "$@"
curve once >curve.once
[ "$(wc -l <curve.once)" -eq $steps ] || fail "$(wc -l <curve.once) losses were logged, not $steps"
grep -q "^$steps [0-9]" curve.once || fail "the log has another form: $(head -n 1 once/metrics.jsonl)"

# Twice the same; and with another number of loader threads and batches ahead.
expect 0 pretrain tiny.yaml --run twice "$@"
same twice
expect 0 pretrain tiny.yaml --run workers "$@" --set data.workers=3 --set data.prefetch=1
same workers
# Activations that are computed again are those that were dropped.
expect 0 pretrain tiny.yaml --run recomputed "$@" --set train.activations=recompute
same recomputed
# A control: another seed gives other weights.
expect 0 pretrain tiny.yaml --run other "$@" --set train.seed=1
! cmp -s other/checkpoints/latest/model.safetensors once/checkpoints/latest/model.safetensors ||
    fail "the seed changes nothing"

# Killed, again and again, between checkpoints and while they are written.
kills=0
for at in 3 4 9 14; do
    "$mm1" pretrain tiny.yaml --run killed "$@" >out 2>err &
    pid=$!
    reaches killed $at $pid
    if kill -9 $pid 2>kill.log; then
        kills=$((kills + 1))
    fi
    code=0
    wait $pid 2>kill.log || code=$?
    [ $code -eq 0 ] || [ $code -eq 137 ] || fail "exit code $code"
done
[ $kills -ge 2 ] || fail "the run was killed $kills times only"
expect 0 pretrain tiny.yaml --run killed "$@"
same killed
[ -z "$(find killed/checkpoints -name '*.tmp')" ] || fail "a killed save left something behind"

# Interrupted: a checkpoint, exit code 130, and on from there.
"$mm1" pretrain tiny.yaml --run interrupted "$@" >out 2>err &
pid=$!
reaches interrupted 6 $pid
kill -INT $pid
code=0
wait $pid || code=$?
[ $code -eq 130 ] || fail "interrupted: exit code $code"
says err "--resume auto"
saved=$(readlink interrupted/checkpoints/latest)
[ "$(lines interrupted)" -lt $steps ] || fail "the run was not interrupted"
[ "$saved" = "$(printf 'step_%08d' "$(lines interrupted)")" ] ||
    fail "the checkpoint is $saved after $(lines interrupted) steps"
expect 0 pretrain tiny.yaml --run interrupted "$@"
same interrupted

#!/bin/sh
# The mean of checkpoints: weights that are those of the models' mean, and models that have none.
. "$(dirname "$0")/lib.sh"
make_tiny
expect 0 pretrain tiny.yaml --run run --quiet --set train.n_steps=3 --set train.checkpoint_every=1 --set train.keep_last=3
set -- run/checkpoints/step_00000001 run/checkpoints/step_00000002 run/checkpoints/step_00000003
expect 0 average "$@" mean
says out mean/model.safetensors
[ -e mean/tokenizer.json ] && [ ! -e mean/optimizer.safetensors ] || fail "the folder is not that of a model"

# A mean with itself is itself, to the bit.
expect 0 average "$1" "$1" "$1" same
cmp same/model.safetensors "$1/model.safetensors" || fail "the mean of a model with itself is another one"

# Its loss is another one than theirs; the order of the models hardly matters.
echo '{"parts": [{"type": "text", "text": "A red flag and the sea."}]}' >document.json
sum() {
    expect 0 score -m "$1" --document document.json --json
    sed -n 's/.*"sum_logprob": *\(-[0-9.e]*\).*/\1/p' out
}
expect 0 average "$3" "$2" "$1" back
awk "BEGIN { d = $(sum mean) - ($(sum back)); exit !(d * d < 1e-8) }" || fail "the order of the models matters"
for m in "$@"; do
    awk "BEGIN { exit !($(sum mean) != $(sum "$m")) }" || fail "the mean scores as $m does"
done
between=$(awk "BEGIN { print ($(sum "$1") < $(sum mean)) + ($(sum mean) < $(sum "$3")) }")
[ "$between" = 2 ] || [ "$between" = 0 ] || fail "the mean of a training that goes one way is not between its ends"

# What has no mean, and what is there already.
expect 0 pretrain tiny.yaml --run wide --quiet --set train.n_steps=1 --set model.decoder.mlp_width=64
expect 3 average "$1" wide/checkpoints/latest none
says err "wide/checkpoints/latest" "another shape"
[ ! -e none ] || fail "something was left behind"
expect 1 average "$1" "$2" mean
says err "--force"
expect 2 average "$1"
says err "OUT are wanted"

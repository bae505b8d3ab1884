#!/bin/sh
# Fine-tuning: the released model learns to answer, a chat with it needs no option, and a run that stops goes on exactly.
. "$(dirname "$0")/lib.sh"
model=$root/models/mm1-nano
tiny=$root/tests/data/tiny

# Two questions on each picture, as messages; the answers are words of its caption.
for picture in "$tiny"/*.png; do
    name=$(basename "$picture" .png)
    printf '{"messages": [{"role": "user", "content": "<image>\\nWhat colour is it?"}, '
    printf '{"role": "assistant", "content": "%s"}, {"role": "user", "content": "What is it?"}, ' "${name%%-*}"
    printf '{"role": "assistant", "content": "%s"}], "images": ["%s.png"]}\n' "${name#*-}" "$name"
done >questions.jsonl

cat >sft.yaml <<END
extends: $root/recipes/sft-smoke.yaml
init:
  model: $model
data:
  sources:
    - {name: questions, kind: conversations, path: questions.jsonl, images: "$tiny"}
END

# What is learned are the answers with what ends them, and nothing else.
expect 0 data inspect sft.yaml --n 1
sed -n '3,4p' out >first
says first "|ser|:|[image 0: 16 slots]|" "|ist|ant|:| black|<|endoftext|>|U|" "^^^^^^ ^^^^^^^^^^^^^"
[ "$(sed -n 2p first | tr -d ' ' | wc -c)" -eq 20 ] || fail "other tokens than the answer are learned"

expect 0 plan sft.yaml --gflops 10
says out "moments of the optimiser" "peak learning rate 0.001"

expect 0 sft sft.yaml --run whole --quiet
says whole/recipe.resolved.yaml "chat: plain" "max_positions: 2048"
says whole/checkpoints/latest/generation_config.json '"chat_template": "plain"'
says whole/data_stats.json '"short_conversations":0'
loss() { # STEP: of the run `whole`
    sed -n "s/^{\"step\": *$1,.*\"loss\": *\([0-9.e-]*\),.*/\1/p" whole/metrics.jsonl
}
awk "BEGIN { exit !($(loss 12) < 0.6 * $(loss 1)) }" || fail "loss $(loss 1) became $(loss 12)"

# A chat by the template that the folder names; the answer begins without a blank.
expect 0 generate -m whole/checkpoints/latest --chat --image "$tiny/black-bar.png" --prompt "What colour is it?" --max-tokens 8
grep -qE '^[a-z]+$' out || fail "no answer of one word"
expect 0 convert whole/checkpoints/latest plain --dtype bf16
says plain/generation_config.json '"chat_template": "plain"'
expect 3 generate -m "$model" --chat --prompt hi
says err "no chat template" "plain"

# A run that goes on from the middle has the same bits.
expect 0 sft sft.yaml --run parts --resume whole/checkpoints/step_00000006 --quiet
cmp -s whole/checkpoints/latest/model.safetensors parts/checkpoints/latest/model.safetensors ||
    fail "resumed, the model is another"

# What is missing is said.
expect 2 sft "$root/recipes/smoke.yaml"
says err "init.model" "not set"
expect 2 sft sft.yaml --set train.lr_peak=law --run none
says err "train.lr_peak"
expect 2 sft sft.yaml --set data.sources.questions.kind=captions --set data.sources.questions.format=webdataset --run none
says err "conversations"

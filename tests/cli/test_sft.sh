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

# Adapters alone, by AdaFactor: a checkpoint is a folder of them, which is used as it is, resumed exactly and merged.
set -- --set lora.rank=4 --set train.optimizer=adafactor --set train.n_steps=4 --set train.checkpoint_every=2 --quiet
expect 0 plan sft.yaml --gflops 10 --set lora.rank=4
says out "trained"
expect 0 sft sft.yaml --run lora "$@"
latest=lora/checkpoints/latest
says $latest/adapter_config.json '"peft_type": "LORA"' "models/mm1-nano" "decoder.layers.0.attn.qkv"
[ -f $latest/adapter_model.safetensors ] && [ ! -f $latest/model.safetensors ] || fail "no folder of adapters alone"
expect 0 sft sft.yaml --run lora-parts --resume lora/checkpoints/step_00000002 "$@"
cmp -s $latest/adapter_model.safetensors lora-parts/checkpoints/latest/adapter_model.safetensors ||
    fail "resumed, the adapters are others"
expect 2 sft sft.yaml --run lora-parts --resume lora/checkpoints/step_00000002 "$@" --set train.optimizer=adamw
says err "go on with train.optimizer adafactor"
expect 0 merge-lora $latest merged
set -- --chat --image "$tiny/black-bar.png" --prompt "What colour is it?" --max-tokens 4
expect 0 generate -m $latest "$@"
mv out adapted
expect 0 generate -m merged "$@"
cmp -s adapted out || fail "merged, the model says something else"
expect 0 inspect merged
expect 3 inspect $latest
says err "mm1 merge-lora"

# Another resolution, and several tiles a picture, from the recipe.
expect 0 sft sft.yaml --run tiles --quiet --set train.n_steps=1 --set model.vision.image_size=56 \
    --set model.image.mode=subimages --set data.seq_len=512 --set data.batch=2
says tiles/checkpoints/latest/preprocessor_config.json subimages
expect 0 generate -m tiles/checkpoints/latest --json "$@"
says out '"n_images": 1'

# What is missing is said.
expect 2 sft sft.yaml --run none --set lora.rank=2 --set "lora.targets=[q_proj]"
says err "lora.targets" "q_proj"
expect 2 merge-lora "$model" nothing
expect 2 sft "$root/recipes/smoke.yaml"
says err "init.model" "not set"
expect 2 sft sft.yaml --set train.lr_peak=law --run none
says err "train.lr_peak"
expect 2 sft sft.yaml --set data.sources.questions.kind=captions --set data.sources.questions.format=webdataset --run none
says err "conversations"

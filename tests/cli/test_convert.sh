#!/bin/sh
# mm1 convert and mm1 inspect: what is written is the model, in the type that was asked for.
. "$(dirname "$0")/lib.sh"
make_tiny
expect 0 pretrain tiny.yaml --run run --quiet --set train.n_steps=8
model=run/checkpoints/latest

expect 0 convert $model f32
says out f32/config.json f32/model.safetensors f32/tokenizer.json
cmp -s $model/model.safetensors f32/model.safetensors || fail "f32 weights are not the same bytes"
[ ! -e f32/optimizer.safetensors ] && [ ! -e f32/trainer_state.json ] || fail "the training's state was copied"
[ ! -e f32.tmp ] || fail "f32.tmp was left behind"

# The other types lose digits, and nothing else: root mean squares agree to what bf16 and f16 can hold.
expect 0 inspect f32 --tensors
grep '^[a-z].* F32 ' out | awk '{print $1, $NF}' >rms.f32
[ "$(wc -l <rms.f32)" -gt 40 ] || fail "few tensors are listed"
for type in bf16 f16; do
    expect 0 convert f32 $type --dtype $type
    expect 0 inspect $type --tensors
    grep -i "^[a-z].* $type " out | awk '{print $1, $NF}' >rms.$type
    paste rms.f32 rms.$type | awk -v type=$type '
        $1 != $3 { print "names differ: " $1 " " $3; bad = 1 }
        { d = $2 - $4; if (d < 0) d = -d; if (d > 0.004 * $2 + 1e-6) { print $1 ": " $2 " became " $4; bad = 1 } }
        END { exit bad }' >diffs || fail "$type: $(head -n 3 diffs)"
    half=$(($(wc -c <f32/model.safetensors) / 2 + 8000))
    [ "$(wc -c <$type/model.safetensors)" -lt $half ] || fail "$type is not half as large"
    # There and back: values that bf16 holds survive f32 unchanged.
    expect 0 convert $type back.f32
    expect 0 convert back.f32 back.$type --dtype $type
    cmp -s $type/model.safetensors back.$type/model.safetensors || fail "$type -> f32 -> $type changes the weights"
    rm -rf back.f32 back.$type
done

# Nothing is overwritten by mistake.
expect 1 convert $model f32
says err "--force"
expect 0 convert $model f32/ --force --dtype bf16
cmp -s f32/model.safetensors bf16/model.safetensors || fail "--force did not replace the model"
mkdir precious
echo data >precious/data
expect 1 convert $model precious --force
says err "not a model folder"
[ -f precious/data ] || fail "a folder that is no model was replaced"
expect 1 convert bf16 $model --force
says err checkpoint
[ -f $model/optimizer.safetensors ] || fail "a checkpoint was replaced"

# Inspection in words and as JSON.
expect 0 inspect $model
says out "28 px in patches of 14 (2 x 2)" "C-Abstractor to 4 visual tokens" "2 layers, width 48" "step 8 of 8" "300 ids"
expect 0 inspect bf16 --json --tensors
says out '"dtype": "BF16"' '"vocab_size": 300' '"name": "decoder.embed.weight"'
! grep -q '"training"' out || fail "a converted model has a training"

# A model of another maker, in several files: our names and shapes, and where each comes from.
hf=$root/tests/data/model/hf
expect 0 inspect "$hf/llama" --tensors
says out 'source     model_type "llama"' "2 layers, width 24" "288 ids"
grep -A 3 '^decoder.layers.1.attn.qkv.weight  *96 x 24 ' out >qkv || fail "the fused projection is not listed"
says qkv model.layers.1.self_attn.q_proj.weight model.layers.1.self_attn.k_proj.weight v_proj.weight
expect 0 inspect "$hf/llama_scaled" --json --tensors
says out '"model_type": "llama"' '"dtype": "BF16"' '"model.embed_tokens.weight"'

# To Hugging Face's form and back: the same bytes, in one file.
expect 0 convert "$hf/llama" ours
expect 0 convert "$hf/llama" theirs --to hf
says out theirs/config.json theirs/tokenizer.json theirs/tokenizer_config.json "model_type llama"
says theirs/config.json LlamaForCausalLM '"torch_dtype": "float32"'
expect 0 convert theirs back
for file in config.json model.safetensors tokenizer.json; do
    cmp -s ours/$file back/$file || fail "$file changes on the way to hf and back"
done
expect 3 convert bf16 nothing --to hf
says err "llava (model.connector.kind)"
[ ! -e nothing ] && [ ! -e nothing.tmp ] || fail "something was written"

# A whole model keeps its chat template, its processor and the parts of the encoder that mm1 does not compute.
whole=$root/tests/data/whole
expect 0 convert "$whole/llava" llava --to hf --dtype bf16
says out llava/preprocessor_config.json llava/processor_config.json llava/chat_template.json "model_type llava"
cmp -s "$whole/llava/chat_template.json" llava/chat_template.json || fail "the chat template changed"
says llava/processor_config.json LlavaProcessor '"num_additional_image_tokens": 1'
says llava/config.json '"image_token_index": 3' clip_vision_model
expect 0 convert llava ours.llava --dtype bf16
expect 0 convert ours.llava llava.again --to hf --dtype bf16
for file in config.json tokenizer.json chat_template.json preprocessor_config.json processor_config.json; do
    cmp -s llava/$file llava.again/$file || fail "$file changes by way of mm1's own form"
done

# A template in tokenizer_config.json stays there; one of a text tower's or decoder's folder too.
cp -r "$hf/llama" templated
printf '{"chat_template": [{"name": "default", "template": "{{ \\u00e4 }}"}]}\n' >templated/tokenizer_config.json
expect 0 convert templated templated.ours
says templated.ours/tokenizer_config.json '{{ ä }}' '"name": "default"'
expect 0 convert templated templated.hf --to hf
says templated.hf/tokenizer_config.json '{{ ä }}' PreTrainedTokenizerFast
printf '[]' >templated/tokenizer_config.json
expect 3 convert templated templated.bad
says err templated/tokenizer_config.json
[ ! -e templated.bad ] || fail "a folder was written although its chat template could not be read"

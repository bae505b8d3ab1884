#!/bin/sh
# A model may be a decoder alone or an encoder alone: what is not there is not trained, saved, asked for or shown.
. "$(dirname "$0")/lib.sh"

make_tiny
for i in $(seq 200); do
    echo "{\"text\": \"The $i birds sit on $((i * 7 % 31)) trees and sing until the sun goes down.\"}"
done >text.jsonl
cat >decoder.yaml <<END
extends: tiny.yaml
model: {kind: decoder}
data:
  sources:
    - {name: text, kind: text, path: text.jsonl, weight: 1}
END

expect 0 plan decoder.yaml --json
says out '"vision": 0,' '"connector": 0,'
expect 0 pretrain decoder.yaml --run run
dir=run/checkpoints/latest
says $dir/config.json '"kind": "decoder"' '"model_type": "mm1"'
! grep -qE '"(vision|connector)"' $dir/config.json || fail "config.json tells of parts that are not there"
[ ! -e $dir/preprocessor_config.json ] || fail "a decoder has no pictures to prepare"

expect 0 inspect $dir
says out "decoder  "
! grep -qE "^(encoder|connector)" out || fail "inspect tells of parts that are not there"
expect 0 generate -m $dir --prompt "The 12 birds" --max-tokens 4 --json
echo '{"parts": [{"type": "text", "text": "The birds sing."}]}' >document.json
expect 0 score -m $dir --document document.json --json
expect 3 generate -m $dir --image "$(ls "$root"/tests/data/drawn/*.png | head -n 1)" --prompt "The"
says err "takes no pictures"

# It is a LLaMA to others, and scores as before when it comes back.
expect 0 score -m $dir --document document.json --json
mv out scores
expect 0 convert $dir llama --to hf
expect 0 score -m llama --document document.json --json
cmp -s scores out || fail "scores change on the way to Hugging Face's form"
expect 0 pretrain decoder.yaml --run run2 --set model.decoder.qk_norm=head --set model.decoder.sliding_window=24
expect 0 inspect run2/checkpoints/latest
says out "window 24, queries and keys normalised"
expect 0 score -m run2/checkpoints/latest --document document.json --json

# Captions cannot be trained on without eyes.
expect 2 pretrain tiny.yaml --run blind --set model.kind=decoder
says err "has pictures, but the model takes none"
expect 2 pretrain tiny.yaml --run mute --set model.kind=encoder
says err "model.kind"

# An encoder is trained by contrast, and a whole model begins with it.
cat >clip.yaml <<END
extends: tiny.yaml
model:
  kind: clip
  text: {width: 16, n_layers: 1, n_heads: 2, mlp_width: 32, max_positions: 32}
  joint: {dim: 8}
train: {objective: contrastive, lr_peak: 1e-3}
END
expect 0 pretrain clip.yaml --run clip
says err "image_to_text" "logit_scale"
dir=clip/checkpoints/latest
says $dir/config.json '"kind": "clip"' '"text"' '"joint"'
! grep -qE '"(decoder|connector)"' $dir/config.json || fail "config.json tells of parts that are not there"
[ ! -e $dir/generation_config.json ] || fail "a model that writes nothing has no settings for it"
expect 0 inspect $dir
says out "text tower 1 layers"
expect 1 generate -m $dir --prompt "The"
says err "without a decoder"
MM1_LOG=info expect 0 pretrain tiny.yaml --run whole --set init.vision=$dir
says err "values from $dir"
expect 2 pretrain clip.yaml --run mute --set train.objective=text
says err "model.kind"
expect 2 pretrain tiny.yaml --run mute --set train.objective=contrastive
says err "set model.kind clip"
expect 2 pretrain clip.yaml --run mute --set train.lr_peak=law
says err "train.lr_peak"

# An encoder is trained by predicting patches, too: pixels alone, no tokenizer.
cat >aim.yaml <<END
extends: tiny.yaml
tokenizer: null
model: {kind: aim, pixel_head: {width: 24}}
train: {objective: aim, lr_peak: 1e-3}
END
expect 0 pretrain aim.yaml --run aim
says aim/checkpoints/latest/config.json '"kind": "aim"' '"pixel_head"'
! grep -qE '"(decoder|connector|text|joint)"' aim/checkpoints/latest/config.json || fail "config.json tells of parts that are not there"
[ ! -e aim/checkpoints/latest/tokenizer.json ] || fail "a model without text has no tokenizer"
expect 0 inspect aim/checkpoints/latest
says out "predicts patches"
expect 1 eval -m aim/checkpoints/latest
says err "mm1 probe"
MM1_LOG=info expect 0 pretrain tiny.yaml --run whole2 --set init.vision=aim/checkpoints/latest
says err "values from aim/checkpoints/latest"
expect 2 pretrain tiny.yaml --run mute --set train.objective=aim
says err "set model.kind aim"

# What its encoder is worth is measured on pictures with labels.
mkdir idx
for split in train t10k; do
    {
        printf '\000\000\010\003\000\000\000\014\000\000\000\002\000\000\000\002'
        for i in 1 2 3 4 5 6; do printf '\377\000\377\000\020\020\040\020'; done
    } >idx/$split-images-idx3-ubyte
    printf '\000\000\010\001\000\000\000\014\000\001\000\001\000\001\000\001\000\001\000\001' >idx/$split-labels-idx1-ubyte
done
expect 0 probe -m $dir --dataset fashion-mnist --data idx --pixels
says out "2 classes, 12 training and 12 test pictures" "linear probe" "nearest neighbours" "raw pixels"
expect 0 probe -m $dir --dataset fashion-mnist --data idx --json
says out '"n_train": 12' '"linear"' '"neighbours"' '"pixels": null'
cp out figures
expect 0 convert $dir alone --encoder
says alone/config.json '"kind": "encoder"'
[ ! -e alone/tokenizer.json ] || fail "an encoder alone has no tokenizer"
expect 0 probe -m alone --dataset fashion-mnist --data idx --json
grep -v '"model"' figures >figures.whole
grep -v '"model"' out | cmp - figures.whole || fail "the encoder alone is another one"
expect 1 convert run/checkpoints/latest eyeless --encoder
says err "has no encoder"
expect 2 probe -m $dir --dataset nothing --data idx
says err "fashion-mnist is"
expect 4 probe -m $dir --dataset fashion-mnist --data nowhere
says err "dataset-fashion-mnist"
rm idx/t10k-labels-idx1-ubyte
expect 4 probe -m $dir --dataset fashion-mnist --data idx
expect 2 probe -m $dir
says err "--dataset is wanted"

#!/bin/sh
# mm1 encode, and models at another resolution than the one they were trained at.
. "$(dirname "$0")/lib.sh"
make_tiny
expect 0 pretrain tiny.yaml --run run --quiet --set train.n_steps=2
model=run/checkpoints/latest
picture=$root/tests/data/drawn/face.png

expect 0 encode -m $model --image "$picture" --output a.safetensors
says out "pixels 3 x 28 x 28" "features 4 x 32" "tokens 4 x 48"
! grep -q pooled out || fail "a model with a connector has no pooled output"
expect 0 encode -m $model --image "$picture" --output b.safetensors --image-size 28
cmp a.safetensors b.safetensors || fail "its own size is not its own size"

# Six sizes, odd grids among them, with one set of weights; the connector keeps its number of tokens.
for px in 224 336 378 448 560 672; do
    side=$((px / 14))
    expect 0 encode -m $model --image "$picture" --output c.safetensors --image-size $px
    says out "pixels 3 x $px x $px" "features $((side * side)) x 32" "tokens 4 x 48"
done
expect 0 generate -m $model --image "$picture" --max-tokens 2 --image-size 98
echo "{\"parts\": [{\"type\": \"image\", \"path\": \"$picture\"}, {\"type\": \"text\", \"text\": \"A face.\"}]}" >d.json
expect 0 score -m $model --document d.json --image-size 42
cp out other
expect 0 score -m $model --document d.json
! cmp -s out other || fail "the resolution does not matter"

# A folder of another resolution is one like any other, and gives what the option gives.
expect 0 convert $model larger --image-size 70
says larger/config.json '"image_size": 70'
expect 0 encode -m larger --image "$picture" --output d.safetensors
expect 0 encode -m $model --image "$picture" --output e.safetensors --image-size 70
cmp d.safetensors e.safetensors || fail "the converted model is another one"
expect 0 inspect larger
says out "70 px in patches of 14 (5 x 5)"

expect 2 encode -m $model --image "$picture" --output f.safetensors --image-size 30
says err "model.vision.image_size" 30 14
expect 2 encode -m $model --image "$picture"
says err "--output"
expect 2 encode -m $model --image "$picture" --output f.safetensors --image-size 9000
says err "--image-size 9000"
expect 4 encode -m $model --image nowhere.png --output f.safetensors
says err nowhere.png
expect 3 encode -m $model --image tiny.yaml --output f.safetensors
says err tiny.yaml
expect 4 encode -m $model --image "$picture" --output nowhere/f.safetensors
says err nowhere/f.safetensors
[ ! -e f.safetensors ] || fail "a failure left a file"

# A folder whose positions fit no grid.
cp -rL $model bad
sed -i 's/"image_size": 28/"image_size": 42/' bad/config.json
expect 0 encode -m bad --image "$picture" --output g.safetensors
says out "features 9 x 32"
sed -i 's/"width": 32/"width": 64/' bad/config.json
expect 3 encode -m bad --image "$picture" --output g.safetensors

# An encoder of another maker, as it is and as a folder of ours.
clip=$root/tests/data/vision/clip_projection
expect 0 encode -m "$clip" --image "$picture" --output clip.safetensors
says out "pixels 3 x 30 x 30" "features 25 x 16" "pooled 10"
expect 0 convert "$clip" clip
says clip/config.json '"kind": "encoder"' '"class_token": true'
expect 0 encode -m clip --image "$picture" --output same.safetensors
cmp clip.safetensors same.safetensors || fail "the converted encoder is another one"
expect 0 inspect clip
says out "class token" "pooled by its class token to 10" "quick_gelu"
expect 1 generate -m "$clip" --prompt "A"
says err "without a decoder"

# A CLIP of another maker compares, and stays what it is in our form.
clip=$root/tests/data/clip/legacy
expect 0 encode -m "$clip" --image "$picture" --output clip.safetensors
says out "pixels 3 x 30 x 30" "features 25 x 16" "pooled 16" "embedding 11"
expect 0 convert "$clip" ours.clip
says ours.clip/config.json '"kind": "clip"' '"bos": true'
expect 0 encode -m ours.clip --image "$picture" --output ours.safetensors
cmp clip.safetensors ours.safetensors || fail "a converted CLIP is another one"
expect 0 convert ours.clip theirs.clip --to hf
says out "model_type clip"
says theirs.clip/config.json CLIPModel '"eos_token_id": 706'

#!/bin/sh
# Pictures in several tiles and the connectors of LLaVA and Idefics3, from plan and training to evaluation and generation.
. "$(dirname "$0")/lib.sh"
make_tiny
# shellcheck disable=SC2154
face=$root/tests/data/drawn/face.png

# try NAME KEY=VALUE...: plan, train, show a row, encode, generate.
try() {
    name=$1
    shift
    sets=
    for s; do
        sets="$sets --set $s"
    done
    # shellcheck disable=SC2086
    expect 0 plan tiny.yaml $sets --json
    # shellcheck disable=SC2086
    expect 0 pretrain tiny.yaml --run whole-$name --quiet --set train.n_steps=4 $sets
    # shellcheck disable=SC2086
    expect 0 data inspect tiny.yaml -n 1 --html page.html $sets
    cp out inspect-$name
    mv page.html page-$name.html
    expect 0 encode -m whole-$name/checkpoints/latest --image "$face" --output $name.safetensors
    cp out encode-$name
    expect 0 generate -m whole-$name/checkpoints/latest --image "$face" --max-tokens 3
}

try mlp model.connector.kind=mlp
try shuffle model.connector.kind=pixel_shuffle model.connector.n_tokens=1
try sub model.image.mode=subimages
says inspect-sub "[tile 4: 4 slots]"
says page-sub.html "<figcaption>tiles 1 to 4 put together</figcaption>"
! grep -q "put together" page-mlp.html || fail "a picture of one tile is whole already"
says encode-sub "pixels 5 x 3 x 28 x 28" "tokens 20 x 48"
# The same weights with the other input: one tile of 4 tokens rather than five, and back; one position begins the text.
sub=whole-sub/checkpoints/latest
expect 0 generate -m $sub --image "$face" --max-tokens 1 --json
says out '"n_prompt_tokens": 21'
expect 0 generate -m $sub --image "$face" --max-tokens 1 --json --image-mode plain
says out '"n_prompt_tokens": 5,'
expect 0 generate -m whole-shuffle/checkpoints/latest --image "$face" --max-tokens 1 --json --image-mode subimages
says out '"n_prompt_tokens": 6,'
expect 2 generate -m $sub --image "$face" --image-mode mosaic
says err "--image-mode mosaic" "plain or subimages"
try anyres model.image.mode=anyres model.image.grids=1x2 model.connector.kind=mlp
says encode-anyres "pixels 3 x 3 x 28 x 28"
expect 2 generate -m whole-anyres/checkpoints/latest --image "$face" --image-mode plain
says err "plainly or as subimages"
says whole-anyres/checkpoints/latest/preprocessor_config.json '"mode": "anyres"' '"grids": "1x2"'
expect 0 inspect whole-anyres/checkpoints/latest --tensors
says out connector.newline

expect 2 plan tiny.yaml --set model.image.mode=anyres --set model.image.grids=9x1
says err "model.image.grids" 9x1
expect 2 plan tiny.yaml --set model.connector.kind=mlp --set model.connector.n_tokens=1
says err "mlp keeps all 4 patches"
expect 2 pretrain tiny.yaml --run none --quiet --set model.image.mode=subimages --set data.crop_min=0.5
says err "several tiles are not changed at random"
expect 2 plan tiny.yaml --set model.image.mode=subimages --set model.image.crops=5
says err "no room for an image of 104 positions"

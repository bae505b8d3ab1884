#!/bin/sh
# Files that are missing, cut short or not what they should be: the exit code says which, the message where.
. "$(dirname "$0")/lib.sh"
make_tiny
expect 0 pretrain tiny.yaml --run run --quiet --set train.n_steps=4
model=run/checkpoints/latest

# A used run folder.
expect 1 pretrain tiny.yaml --run run --quiet --resume never
says err run "another --run folder" "--resume auto"
expect 4 pretrain tiny.yaml --run run2 --quiet --resume no-such-checkpoint
says err no-such-checkpoint

# What is not there.
expect 2 pretrain tiny.yaml --run run3 --set tokenizer=null
says err "mm1 tokenizer train"
expect 4 pretrain tiny.yaml --run run3 --set tokenizer=none.json
says err none.json
expect 4 pretrain tiny.yaml --run run3 --set 'data.sources.captions.path=nowhere/*.tar'
says err "data.sources.captions" "nowhere/*.tar"
expect 4 data inspect tiny.yaml --set 'data.sources.captions.path=nowhere/*.tar'
expect 2 pretrain tiny.yaml --run run3 --set data.sources.captions.text_prefix=x
says err "data.sources.captions: text_field belongs to captions, text_prefix to it"
expect 2 pretrain tiny.yaml --run run3 --set data.sources.captions.images=nowhere
says err "data.sources.captions.images: the pictures of captions are in its files"
expect 4 convert nowhere exported
says err nowhere

# Weights: cut, without a tensor, of another shape, garbage in the header's length.
bad() {
    rm -rf bad
    cp -rL $model bad
}
size=$(wc -c <$model/model.safetensors)
for n in 0 7 100 $((size - 1)); do
    bad
    head -c "$n" $model/model.safetensors >bad/model.safetensors
    for command in "inspect bad" "convert bad exported"; do
        expect 3 $command
        says err bad/model.safetensors
    done
    [ ! -e exported ] && [ ! -e exported.tmp ] || fail "something was exported"
done
bad
printf '\377\377\377\377\377\377\377\177' | dd of=bad/model.safetensors conv=notrunc bs=8 2>dd.log
expect 3 inspect bad
says err bad/model.safetensors
bad
sed -i 's/decoder\.norm\.weight/decoder.norm.wEight/' bad/model.safetensors
expect 3 inspect bad
says err decoder.norm.weight
bad
sed -i 's/"width": 48/"width": 96/' bad/config.json
expect 3 inspect bad

# Configuration and tokenizer.
bad
rm bad/config.json
expect 4 inspect bad
says err "model folder"
bad
sed -i 's/"mm1"/"blip-2"/' bad/config.json
expect 3 inspect bad
says err blip-2
bad
echo '{"model": {"type": "BPE", "vocab": {}}}' >bad/tokenizer.json
expect 3 inspect bad
says err bad/tokenizer.json
expect 3 convert bad exported
says err bad/tokenizer.json
bad
sed -i 's/<|endoftext|>/<|endoftexx|>/g' bad/tokenizer.json
rm -f bad/generation_config.json
expect 3 convert bad exported
says err endoftext
bad
head -c 300 tokenizer.json >bad/tokenizer.json
expect 3 convert bad exported
expect 3 pretrain tiny.yaml --run run3 --set tokenizer=bad/tokenizer.json
says err bad/tokenizer.json

# The state of a training.
bad
head -c 40 $model/trainer_state.json >bad/trainer_state.json
expect 3 inspect bad
says err trainer_state.json
expect 3 pretrain tiny.yaml --run run3 --quiet --resume bad
says err trainer_state.json
bad
rm bad/optimizer.safetensors
expect 4 pretrain tiny.yaml --run run3 --quiet --resume bad
says err optimizer.safetensors

# A shard that ends too early, and one that is none.
mkdir cut
head -c 50000 data/train/captions-0000.tar >cut/captions-0000.tar
expect 3 pretrain tiny.yaml --run run4 --quiet --set 'data.sources.captions.path=cut/captions-*.tar'
says err cut/captions-0000.tar
printf 'not a tar file, but longer than one block of such a file would be: %01000d' 0 >cut/captions-0000.tar
expect 3 pretrain tiny.yaml --run run4 --quiet --set 'data.sources.captions.path=cut/captions-*.tar'
says err cut/captions-0000.tar
expect 0 plan tiny.yaml --gflops 10 --set 'data.sources.captions.path=cut/captions-*.tar'
says err "is not counted" cut/captions-0000.tar

#!/bin/sh
# GGUF files where model folders are read, and mm1 convert out of and into them.
. "$(dirname "$0")/lib.sh"
data=$root/tests/data/model/gguf

expect 0 generate -m "$data/llama.gguf" -p "The quick" -n 8 --json
says out '"n_tokens": 8'
wrote=$(sed 's/.*"text": \("[^"]*"\).*/\1/' out)
printf '{"tokens": [5, 9, 40, 41]}' >d.json
expect 0 score -m "$data/llama.gguf" -d d.json --json
cp out scores

# A folder and back: the same text, the same scores, the same file.
expect 0 convert "$data/llama.gguf" folder
says out folder/model.safetensors folder/tokenizer.json
expect 0 generate -m folder -p "The quick" -n 8 --json
says out "$wrote"
expect 0 score -m folder -d d.json --json
cmp -s scores out || fail "the folder gives other scores"
expect 0 convert "$data/llama.gguf" a.gguf --to gguf
expect 0 convert folder b.gguf --to gguf
cmp -s a.gguf b.gguf || fail "a GGUF file by way of a folder is another one"
[ ! -e b.gguf.tmp ] || fail "b.gguf.tmp was left behind"
expect 0 score -m b.gguf -d d.json --json
cmp -s scores out || fail "the file that was written gives other scores"

# The chat template of a folder stands in the file, of several the default one, and comes back.
cp -r folder talks
template="{% for message in messages %}{{ message['content'] }}{% endfor %}"
printf '{"chat_template": [{"name": "tools", "template": "x"}, {"name": "default", "template": "%s"}]}' "$template" \
    >talks/tokenizer_config.json
expect 0 convert talks talks.gguf --to gguf
expect 0 convert talks.gguf back
[ "$(cat back/chat_template.jinja)" = "$template" ] || fail "the chat template changed on the way"
expect 3 generate -m talks.gguf --chat -p x
says err "talks.gguf: a chat template that is not known" "--chat-template"

# In fewer bits it is smaller, and about as good.
for type in f16 q8_0 q4_0; do
    expect 0 convert a.gguf $type.gguf --to gguf --dtype $type
    [ "$(wc -c <$type.gguf)" -lt "$(wc -c <a.gguf)" ] || fail "$type.gguf is not smaller"
    expect 0 score -m $type.gguf -d d.json --json
done

# Nothing is overwritten by mistake, and what cannot be read is named.
expect 1 convert folder a.gguf --to gguf
says err "--force"
expect 0 convert folder a.gguf --to gguf --force --dtype f16
cmp -s a.gguf f16.gguf || fail "--force did not replace the file"
echo data >precious.gguf
expect 1 convert folder precious.gguf --to gguf --force
says err "not a model"
expect 0 inspect "$data/llama.gguf"
says out "288 ids" "llama"
expect 0 inspect "$data/llama_mixed.gguf" --json --tensors
says out '"Q4_0' "blk.0.attn_q.weight" '"config": null'
head -c 3000 b.gguf >cut.gguf
expect 3 generate -m cut.gguf -p x
says err "cut.gguf: " "is it cut off?"
expect 4 generate -m none.gguf -p x
says err none.gguf
make_tiny
expect 0 pretrain tiny.yaml --run run --quiet --set train.n_steps=1
expect 3 convert run/checkpoints/latest mm.gguf --to gguf
says err "a model with pictures cannot be written as GGUF"
[ ! -e mm.gguf ] || fail "half a file was written"

#!/bin/sh
# mm1 generate and mm1 score from the outside: a model of two steps is trained on the spot, then used and misused.
# Usage: test_generate.sh PATH/TO/mm1
set -eu
mm1=$1
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export MM1_THREADS=1
n=0
# The programs write into the folder: messages hold no long paths then.
cd "$dir"

fail()
{
    echo "FAILED: $1" >&2
    echo "--- standard output" >&2
    cat out >&2
    echo "--- standard error" >&2
    cat err >&2
    exit 1
}

# expect CODE ARGUMENTS...: runs mm1 with that exit code; an error is one line (two with the hint of a wrong option).
expect()
{
    want=$1
    shift
    n=$((n + 1))
    code=0
    "$mm1" "$@" >out 2>err </dev/null || code=$?
    [ "$code" = "$want" ] || fail "mm1 $*: exit code $code, not $want"
    if [ "$want" != 0 ]; then
        lines=$(grep -vc "^Try " err || true)
        [ "$lines" = 1 ] || fail "mm1 $*: $lines lines of error"
        [ ! -s out ] || fail "mm1 $*: an error, and standard output"
    fi
}

# has FILE TEXT: the text is in it.
has()
{
    grep -qF -- "$2" "$1" || fail "$1 does not hold \"$2\""
}

same()
{
    cmp -s "$1" "$2" || fail "$1 and $2 differ"
}

# ---- a model ----
i=0
while [ $i -lt 40 ]; do
    echo "{\"text\": \"The cat number $i sat on the red mat and the other one did not.\"}"
    i=$((i + 1))
done >text.jsonl
"$mm1" tokenizer train --vocab-size 300 --output tokenizer.json text.jsonl 2>err
cat >recipe.yaml <<'YAML'
name: cli
tokenizer: tokenizer.json
build: {sources: [{kind: tuxpaint}]}
model:
  vision: {image_size: 28, patch_size: 14, width: 16, n_layers: 1, n_heads: 2, mlp_width: 32}
  connector: {kind: avgpool, n_tokens: 4}
  decoder: {width: 32, n_layers: 1, n_heads: 2, mlp_width: 64, max_positions: 64}
  image: {max_images: 3}
data:
  seq_len: 32
  batch: 2
  sources:
    - {name: text, kind: text, path: text.jsonl, weight: 1}
train: {n_steps: 2, micro_batch: 2}
YAML
"$mm1" pretrain recipe.yaml --run run --quiet >out 2>err || fail "pretrain"
model=run/checkpoints/latest
set -- "$here"/../data/image/src/*.png
cp "$1" a.png

# ---- generate ----
expect 0 generate -m $model --prompt "The cat" --max-tokens 5
cp out plain
expect 0 generate -m $model --prompt "The cat" --max-tokens 5
same out plain
expect 0 generate -m $model --prompt "The cat" --max-tokens 5 --json
has out '"finish_reason": "'
has out '"n_images": 0'
has out '"tokens_per_second": '
[ "$(wc -l <out)" = 1 ] || fail "--json prints more than an object"
[ ! -s err ] || fail "--json prints on standard error"

# The prompt is the parts in their order; standard input is one part.
printf 'The cat' | "$mm1" generate -m $model --max-tokens 5 >out 2>err || fail "standard input"
same out plain
expect 0 generate -m $model --image a.png --prompt "The cat" --image a.png --json
has out '"n_images": 2'
expect 0 generate -m $model --image a.png --max-tokens 3 --json
has out '"n_prompt_tokens": 5,'
expect 0 generate -m $model --prompt "<|image|>" --max-tokens 1 --json
has out '"n_images": 0'

# Seeds.
expect 0 generate -m $model --prompt "The" --temperature 1 --top-k 50 --top-p 0.95 --min-p 0.01 --seed 4 -n 30
cp out seed4
expect 0 generate -m $model --prompt "The" --temperature 1 --top-k 50 --top-p 0.95 --min-p 0.01 --seed 4 -n 30
same out seed4
expect 0 generate -m $model --prompt "The" --temperature 1 --top-k 50 --top-p 0.95 --min-p 0.01 --seed 5 -n 30
if cmp -s out seed4; then
    fail "another seed gives the same text"
fi

# What is wrong is said, with the exit code of its kind.
expect 4 generate -m nowhere --prompt x
has err "nowhere"
expect 4 generate -m $model --image missing.png
has err "missing.png"
head -c 100 a.png >cut.png
expect 3 generate -m $model --image cut.png
has err "cut.png"
expect 3 generate -m $model --image text.jsonl
has err "text.jsonl"
expect 3 generate -m $model --image a.png --image a.png --image a.png --image a.png
has err "4 images are more than the 3"
expect 2 generate -m $model --prompt ""
has err "the prompt is empty"
expect 2 generate -m $model
has err "the prompt is empty"
expect 3 generate -m $model --prompt "$(cat text.jsonl)"
has err "context of 64"
expect 3 generate -m $model --prompt x --context 65
expect 2 generate --prompt x
expect 2 generate -m $model --prompt x --temperature -1
expect 2 generate -m $model --prompt x --top-p 0
expect 2 generate -m $model --prompt x --max-tokens 0
expect 2 generate -m $model --prompt x --stop ""
expect 2 generate -m $model x
cp -r run/checkpoints/latest/ broken
head -c 1000 $model/model.safetensors >broken/model.safetensors
expect 3 generate -m broken --prompt x
has err "model.safetensors"

# ---- score ----
mkdir documents
cp a.png documents
printf '%s' '{"parts": [{"type": "image", "path": "a.png"}, {"type": "text", "text": "The cat\n"}]}' >documents/d.json
expect 0 score -m $model --document documents/d.json
has out "a.png (4 slots)"
has out "perplexity"
expect 0 score -m $model --document documents/d.json --json --logits logits.safetensors
has out '"n_slots": 4'
has out '"sum_logprob": -'
[ -s logits.safetensors ] || fail "no logits"
echo '{"tokens": [0, 40, 41, 42]}' >tokens.json
expect 0 score -m $model --document tokens.json --json
has out '"n": 3}'
echo '{"tokens": [0, 40, 100000]}' >tokens.json
expect 3 score -m $model --document tokens.json
has err "tokens.json: token 2 is 100000"
echo '{"tokens": []}' >tokens.json
expect 3 score -m $model --document tokens.json
echo '{"tokens": [0, "a"]}' >tokens.json
expect 3 score -m $model --document tokens.json
has err "tokens[1]"
echo '{"parts": [{"type": "sound"}]}' >bad.json
expect 3 score -m $model --document bad.json
has err "bad.json"
echo '{' >bad.json
expect 3 score -m $model --document bad.json
expect 4 score -m $model --document missing.json
expect 2 score -m $model

echo "$n calls passed, 0 failed"

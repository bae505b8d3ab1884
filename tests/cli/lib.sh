# lib.sh - what the tests of the program share; each is run as `sh test_x.sh /path/to/mm1`, in any folder.
set -eu
mm1=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
root=$(cd "$(dirname "$0")/../.." && pwd)
tmp=$(mktemp -d "${TMPDIR:-/tmp}/mm1-cli-XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
cd "$tmp"
export MM1_LOG=warning MM1_THREADS=${MM1_THREADS:-2}

fail() {
    echo "FAILED: $*" >&2
    for f in out err; do
        [ ! -s $f ] || sed "s/^/    $f: /" $f | head -n 20 >&2
    done
    exit 1
}

# expect CODE COMMAND...: runs the program; its output is in the files out and err.
expect() {
    want=$1
    shift
    code=0
    "$mm1" "$@" >out 2>err || code=$?
    [ $code -eq "$want" ] || fail "mm1 $*: exit code $code, not $want"
}

# says FILE TEXT...: each text stands in the file.
says() {
    file=$1
    shift
    for text in "$@"; do
        grep -qF -- "$text" "$file" || fail "\"$text\" is not in $file"
    done
}

# A recipe on 40 small pictures, its data and its tokenizer, in tiny.yaml, data/ and tokenizer.json.
make_tiny() {
    cat >tiny.yaml <<END
name: tiny
tokenizer: tokenizer.json
build:
  out: data
  root: /
  heldout_one_in: 0
  sources:
    - {kind: images, path: "$root/tests/data/tiny", licence: CC0-1.0}
model:
  vision: {image_size: 28, patch_size: 14, width: 32, n_layers: 1, n_heads: 2, mlp_width: 64}
  connector: {kind: c_abstractor, n_tokens: 4, hidden: 32, depth: 1}
  decoder: {width: 48, n_layers: 2, n_heads: 3, mlp_width: 96, max_positions: 128}
data:
  seq_len: 96
  batch: 4
  max_images: 4
  sources:
    - {name: captions, kind: captions, path: "data/train/captions-*.tar", weight: 1}
train:
  n_steps: 20
  lr_peak: 1e-3
  lr_warmup_steps: 2
  checkpoint_every: 4
  micro_batch: 2
END
    expect 0 data build tiny.yaml
    expect 0 tokenizer train --recipe tiny.yaml --vocab-size 300
}

#!/bin/bash
# tokenizer.sh - speed of the tokenizer on one thread beside the `tokenizers` package, with the same files.
#
#   bench/tokenizer.sh [TEXT.jsonl[.zst]]    without it the text of the demo, which `make demo` builds
#
#   MM1_BUILD   build folder (default build/release)
#   MM1_PEERS   Python environment with the package (default ~/.cache/mm1/peers); without it there is no comparison
#   MM1_ROUNDS  runs of each program, in turn (default 5)
#
# Three tokenizers are trained on the text, then its first 2000 documents are encoded, each by a call of its own.
# Both programs start anew in each round, so that nothing is cached at its beginning, and count their own CPU time.
# Figures are medians; a ratio is the median of the ratios of rounds, and that of encoding is against encode() or
# encode_batch_fast() of the package, whichever took less.  Ids and decoded text must be the same, or there is no
# result.
#
# Prints a table and writes tokenizer.json into MM1_BENCH_OUT (default out/bench).
set -euo pipefail
cd "$(dirname "$0")/.."
build=${MM1_BUILD:-build/release}
python=${MM1_PEERS:-$HOME/.cache/mm1/peers}/bin/python
rounds=${MM1_ROUNDS:-5}
out=${MM1_BENCH_OUT:-out/bench}
text=${1:-out/demo/data/train/text-0000.jsonl.zst}

die() {
    echo "tokenizer.sh: $*" >&2
    exit 1
}

[ -f "$text" ] || die "$text is not there: run \`make demo\`, or name a file of JSON lines that have a \"text\""
mkdir -p $out
if [ "$build" = build/release ]; then
    cmake --preset release >/dev/null
fi
cmake --build "$build" --target mm1 bench_tokenizer >$out/build.log 2>&1 || {
    tail -n 20 $out/build.log >&2
    die "the benchmark does not build; the whole log is $out/build.log"
}
peer=1
if ! "$python" -c 'import tokenizers' 2>/dev/null; then
    peer=0
    echo "tokenizer.sh: no comparison: $python has no tokenizers package: pip install tokenizers, or set MM1_PEERS" >&2
fi

# The documents and the tokenizers.
docs=$out/tokenizer.jsonl
case $text in
*.zst) zstd -dcq "$text" | head -n 2000 >$docs || [ -s $docs ] ;; # head stops zstd early
*) head -n 2000 "$text" >$docs ;;
esac
train() { # vocabulary
    "$build/mm1" tokenizer train --vocab-size "$1" --output "$out/tokenizer-gpt2-$1.json" "$text" >$out/train.log 2>&1 ||
        die "training a tokenizer failed: $(tail -n 1 $out/train.log)"
}
train 4096
train 32768
# The same merges behind the pattern of Qwen2, which a regular expression cuts, and with its normalizer.
qwen='{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"(?i:'"'s|'t|'re|'ve|'m|'ll|'d"')|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},"behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":false,"use_regex":false}]}'
qwen=$qwen awk '
    /^  "pre_tokenizer": / { print "  \"pre_tokenizer\": " ENVIRON["qwen"] ","; next }
    /^  "normalizer": / { print "  \"normalizer\": {\"type\":\"NFC\"},"; next }
    { print }' $out/tokenizer-gpt2-32768.json >$out/tokenizer-qwen2-32768.json

export RAYON_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
value() { # name, file
    awk -v name="$1" '$1 == name { print $2; exit }' "$2"
}
median() {
    sort -g | awk '{ v[NR] = $1 } END { printf "%.4g", NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

rows=
printf '%-12s %9s %9s %9s   %9s %9s\n' tokenizer 'ids/byte' 'encode' 'x peer' 'decode' 'x peer' >$out/tokenizer.txt
for name in gpt2-4096 gpt2-32768 qwen2-32768; do
    json=$out/tokenizer-$name.json
    : >$out/.pairs
    : >$out/.peer
    for _ in $(seq "$rounds"); do
        "$build/bench_tokenizer" "$json" $docs >$out/.own
        if [ $peer = 1 ]; then
            "$python" bench/peers/tokenizer.py "$json" $docs >$out/.peer
            for sha in ids_sha256 text_sha256; do
                [ "$(value $sha $out/.own)" = "$(value $sha $out/.peer)" ] ||
                    die "$json: $sha is not that of the package"
            done
        fi
        # MB/s of encoding and decoding, those of the package and the ratios
        bytes=$(value bytes $out/.own)
        awk -v bytes="$bytes" '
            { v[$1, ++n[$1]] = $2 }
            END {
                encode = v["encode", 2]
                if (v["encode_batch", 1] < encode)
                    encode = v["encode_batch", 1]
                printf "%g %g", bytes / v["encode", 1] * 1e-6, bytes / v["decode", 1] * 1e-6
                if (encode)
                    printf " %g %g %g %g", bytes / encode * 1e-6, bytes / v["decode", 2] * 1e-6,
                        encode / v["encode", 1], v["decode", 2] / v["decode", 1]
                print ""
            }' $out/.own $out/.peer >>$out/.pairs
    done
    figure() { # column
        [ "$peer" = 1 ] || [ "$1" -le 2 ] || { echo null && return; }
        awk -v column="$1" '{ print $column }' $out/.pairs | median
    }
    share=$(awk -v ids="$(value ids $out/.own)" -v bytes="$bytes" 'BEGIN { printf "%.4f", ids / bytes }')
    row=$(printf '{"tokenizer": "%s", "bytes": %s, "ids": %s' "$name" "$bytes" "$(value ids $out/.own)")
    column=0
    for key in encode_mb_per_second decode_mb_per_second peer_encode_mb_per_second peer_decode_mb_per_second \
        encode_ratio decode_ratio; do
        column=$((column + 1))
        row+=", \"$key\": $(figure $column)"
    done
    rows+="${rows:+,}"$'\n'"  $row}"
    printf '%-12s %9s %9s %9s   %9s %9s\n' $name "$share" "$(figure 1)" "$(figure 5)" "$(figure 2)" "$(figure 6)" |
        sed 's/null/   -/g' >>$out/tokenizer.txt
done
version=$([ $peer = 0 ] || value version $out/.peer)
printf '{"threads": 1, "rounds": %s, "peer": %s, "rows": [%s\n]}\n' "$rounds" \
    "$([ $peer = 0 ] && echo null || echo "\"tokenizers $version\"")" "$rows" >$out/tokenizer.json
rm -f $out/.own $out/.peer $out/.pairs
echo "tokenizer, one thread, MB/s of text${version:+; the peer is tokenizers $version}"
cat $out/tokenizer.txt

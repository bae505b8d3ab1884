#!/bin/bash
# demo.sh - from nothing to a report: fetches packages, builds the data set, trains a tokenizer and a model, evaluates it on
# what it never saw, and writes out/demo/report.html.  At most 25 minutes on two cores, 12 of them training.  May be stopped and run again: each
# part that is finished is kept.
set -eu
cd "$(dirname "$0")/.."
mm1=build/release/mm1
out=out/demo
recipe=recipes/demo.yaml
started=$(date +%s)

step() {
    local s=$(($(date +%s) - started))
    printf '\n== [%2d:%02d] %s\n' $((s / 60)) $((s % 60)) "$*" >&2
}

mkdir -p $out
step "1/7 Fetching Debian packages with pictures and texts"
scripts/demo-data.sh
step "2/7 Building the data set: captions, interleaved pages, prose"
$mm1 data build $recipe >/dev/null
step "3/7 Training a tokenizer"
[ -f $out/tokenizer.json ] || $mm1 tokenizer train --recipe $recipe --vocab-size 4096
step "4/7 Pre-training an MM1 from scratch (at most 12 minutes)"
$mm1 pretrain $recipe --run $out/run >/dev/null
step "5/7 Evaluating on concepts that training never saw"
$mm1 eval -m $out/run/checkpoints/latest --data $out/data --output $out/eval | tee $out/eval.txt
step "6/7 Captions for pictures it never saw"
for picture in $(find $out/eval/pictures -type f | sort | head -n 5); do
    printf '%s: ' "$picture"
    $mm1 generate -m $out/run/checkpoints/latest --image "$picture" --max-tokens 24 2>/dev/null
done
step "7/7 Writing the report"
$mm1 report --title "The demo's model" --run $out/run --eval $out/eval --data $out/data --output $out
s=$(($(date +%s) - started))
cat >&2 <<END

Done in $((s / 60)) min $((s % 60)) s.  Open $out/report.html in a browser.
More:  $mm1 generate -m $out/run/checkpoints/latest --image a.png        a caption for a picture of yours
       $mm1 data inspect $recipe --html $out/data.html                   what the model sees of the data
       $mm1 plan recipes/nano.yaml                                       what a longer training takes
END

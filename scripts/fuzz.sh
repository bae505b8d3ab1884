#!/bin/sh
# fuzz.sh [SECONDS [TARGET...]] - runs the fuzz targets of tests/fuzz, each for so many seconds (600), one after the other
# on one core.  What is found on the way stays in build/fuzz/found/TARGET; an input that shows a defect is named at the
# end and belongs into tests/fuzz/corpus/TARGET once the defect is repaired.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-600}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- $(ls tests/fuzz | sed -n 's/^fuzz_\(.*\)\.c$/\1/p')
cmake --preset fuzz >/dev/null
for target; do
    cmake --build build/fuzz --target "fuzz_$target" >/dev/null
    found=build/fuzz/found/$target
    mkdir -p "$found"
    log=$found.log
    # Memory and time are limits, too: a file of some KB must not take 2 GB or 10 s.
    if build/fuzz/tests/fuzz/fuzz_"$target" -max_total_time="$seconds" -max_len=16384 -rss_limit_mb=2048 -timeout=10 \
        -artifact_prefix="$found.bad-" "$found" "tests/fuzz/corpus/$target" 2>"$log"; then
        echo "$target: $(tail -n 1 "$log")"
    else
        echo "$target: see $log"
        grep -E '^(==[0-9]+==)?(ERROR|SUMMARY|fuzz:)|Test unit written|runtime error' "$log"
        exit 1
    fi
done

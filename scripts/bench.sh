#!/bin/bash
# bench.sh - measures this program beside the machine's limits and its rivals, all in one run: what `make bench` does.
#
#   scripts/bench.sh [SECTION]...     gemm attention kernels jpeg tokenizer step; all without arguments, in under 15 minutes
#   scripts/bench.sh growth           how a step grows with each size: 5 minutes more, so by name only (make bench-growth)
#   scripts/bench.sh --baseline       counts the instructions of the kernels anew: bench/instructions.tsv
#
#   MM1_BENCH_QUICK=1   small shapes and one turn: a minute that shows that everything runs; its figures say nothing
#   MM1_BUILD           a folder that is built already (default: build/release, built here)
#   MM1_BENCH_OUT       results (default out/bench)
#   MM1_BENCH_PEERS     Python of the peers (default ~/.cache/mm1/peers/bin/python; bench/peers/setup.sh makes it)
#   MM1_THREADS         compute threads, of the peers too (default: all CPUs)
#
# Writes bench.json and bench.md there.  A section is a function section_NAME below that leaves NAME.json in the results
# and, where `mm1 bench report` makes no table of it, NAME.md for people.  A new one is added to the list `all`.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${MM1_BUILD:-build/release}
out=${MM1_BENCH_OUT:-out/bench}
python=${MM1_BENCH_PEERS:-${HOME:-/root}/.cache/mm1/peers/bin/python}
quick=${MM1_BENCH_QUICK:-0}
export MM1_THREADS=${MM1_THREADS:-$(nproc)}
baseline=bench/instructions.tsv
all="gemm attention kernels jpeg tokenizer step"
by_name="growth"
time_for_steps=840 # seconds since the start: the whole is to end within 15 minutes

# Some machines set the core type to one that suits another program; OpenBLAS knows best which processor this is.
unset OPENBLAS_CORETYPE

die() {
    echo "bench.sh: $*" >&2
    exit 1
}

note() {
    printf '[%3d s] %s\n' "$SECONDS" "$*" >&2
}

# ---- sections ----

section_gemm() {
    local shapes=()
    [ "$quick" = 0 ] || shapes=(--shape 256,256,256)
    "$build/mm1" bench gemm --json ${shapes[@]+"${shapes[@]}"} >"$out/gemm.json"
}

section_attention() {
    "$build/mm1" bench attention --json >"$out/attention.json"
}

section_growth() {
    local few=()
    [ "$quick" = 0 ] || few=(--sizes 1 --set data.batch=1 --set train.micro_batch=1 --set data.seq_len=64)
    "$build/mm1" bench growth --recipe bench/recipes/growth.yaml --json ${few[@]+"${few[@]}"} >"$out/growth.json"
}

# case, turns, steps in a turn; options of `mm1 bench step`; after |, those of the peer.
step_cases() {
    local r=bench/recipes
    if [ "$quick" = 0 ]; then
        echo "decoder 3 2 --recipe $r/decoder.yaml |"
        echo "vit 3 3 --recipe $r/vit.yaml --part vision |"
        echo "mm1 2 1 --recipe $r/mm1.yaml --images 4 |"
    else
        echo "decoder 1 1 --recipe $r/decoder.yaml --set data.batch=1 --set data.seq_len=64 --set model.decoder.n_layers=1 | --batch 1 --seq 64 --layers 1"
        echo "vit 1 1 --recipe $r/vit.yaml --part vision --set data.batch=1 --set model.vision.n_layers=1 | --batch 1 --layers 1"
    fi
}

# One turn of the peer; a mode that does not run is said, and left out.
peer_turn() { # mode, file, options...
    local mode=$1 file=$2
    shift 2
    "$python" bench/peers/torch_step.py --mode "$mode" --threads "$MM1_THREADS" "$@" >"$file" 2>"$out/torch.log" || {
        rm -f "$file"
        note "PyTorch ($mode) does not run here: $(tail -n 1 "$out/torch.log")"
    }
}

# One turn of a case: ours, PyTorch, PyTorch compiled.
step_turn() { # case, turn, steps, options of ours, options of the peer
    local file="$out/step-$1.$2" ours=$4 peer="--model $1 --steps $3 $5"
    # shellcheck disable=SC2086
    "$build/mm1" bench step $ours --steps "$3" --json >"$file.mm1.json"
    if [ $torch = 1 ]; then
        # shellcheck disable=SC2086
        peer_turn eager "$file.eager.json" $peer
        # shellcheck disable=SC2086
        [ "$quick" != 0 ] || peer_turn compile "$file.compile.json" $peer
    fi
}

# Turn by turn, so that every case has one before any has two; later turns are left out where time runs short.
section_step() {
    local name turns steps options turn torch=0 began
    local -A took=()
    if [ -x "$python" ] && "$python" -c 'import torch' 2>"$out/torch.log"; then
        torch=1
    else
        note "no PyTorch at $python, so no comparison; bench/peers/setup.sh installs it"
    fi
    for turn in 1 2 3; do
        while read -r name turns steps options; do
            [ "$turn" -le "$turns" ] || continue
            if [ $((SECONDS + ${took[$name]:-0})) -gt $time_for_steps ]; then
                note "$name, turn $turn of $turns: left out, it would end after $time_for_steps s"
                continue
            fi
            note "$name, turn $turn of $turns"
            began=$SECONDS
            step_turn "$name" "$turn" "$steps" "${options%|*}" "${options#*|}" </dev/null
            took[$name]=$((SECONDS - began))
        done < <(step_cases)
    done
}

# Instructions of a program by callgrind, with all that is called, of the functions in names.tsv (function, name).
count_calls() { # table, command...
    local table=$1
    shift
    valgrind --tool=callgrind --callgrind-out-file="$out/callgrind.$table" "$@" 2>"$out/callgrind.log" >&2 || {
        note "$table is not counted: $(tail -n 1 "$out/callgrind.log")"
        return 0
    }
    callgrind_annotate --inclusive=yes --threshold=100 --auto=no --tree=none "$out/callgrind.$table" |
        awk -F '\t' -v table="$table" -v names="$out/names.tsv" '
            BEGIN { while ((getline <names) > 0) { name[$1] = $2; order[++n] = $1 } }
            match($0, /:(run_|mm1_)[a-z0-9_]+/) {
                fn = substr($0, RSTART + 1, RLENGTH - 1)
                split($0, word, " ")
                gsub(",", "", word[1])
                if (word[1] + 0 > count[fn]) count[fn] = word[1] + 0 # what is inlined has lines of its own
            }
            END { for (i = 1; i <= n; i++) if (order[i] in count) printf "%s\t%s\t%d\n", name[order[i]], table, count[order[i]] }'
}

# One call of every kernel, and the tokenizer over the text of its tests: counts do not depend on what else the machine
# does.  Valgrind knows no AVX-512, so that those tables are not counted.
count_instructions() {
    local table texts=tests/data/text
    "$build/bench_rows" --list >"$out/names.tsv"
    for table in ref avx2; do
        count_calls $table "$build/bench_rows" --once $table
    done
    printf 'mm1_tokenizer_%s\ttokenizer %s\n' load load encode encode decode decode >"$out/names.tsv"
    for table in gpt2 qwen; do
        count_calls $table "$build/bench_tokenizer" $texts/$table.tokenizer.json $texts/golden.txt.zst
    done
}

section_kernels() {
    command -v valgrind >/dev/null || {
        note "no valgrind, so no count of instructions; apt-get install valgrind"
        return 0
    }
    local program
    for program in bench_rows bench_tokenizer; do
        [ -x "$build/$program" ] || die "no $build/$program; build it with cmake --build $build --target $program"
    done
    count_instructions >"$out/counts.tsv"
    awk -F '\t' 'NR == FNR { base[$1, $2] = $3; next } { printf "%s\t%s\t%s\t%s\n", $1, $2, $3, base[$1, $2] + 0 }' \
        $baseline "$out/counts.tsv" >"$out/kernels.tsv"
}

# The next two print their tables; what they lack, they say.
table_of() { # title, command...
    local title=$1 text
    shift
    text=$("$@") || {
        note "$title: no figures"
        return 0
    }
    printf '%s\n' "$text" >&2
    [ -z "$text" ] || printf '## %s\n\n```\n%s\n```\n' "$title" "$text"
}

section_jpeg() {
    [ "$quick" = 0 ] || return 0
    MM1_BENCH_OUT=$out table_of "JPEG to a tensor" bench/jpeg.sh 2 >"$out/jpeg.md"
}

section_tokenizer() {
    [ "$quick" = 0 ] || return 0
    if [ ! -f out/demo/data/train/text-0000.jsonl.zst ]; then
        note "no text of the demo (make demo), so no figures of the tokenizer"
        return 0
    fi
    MM1_BENCH_OUT=$out MM1_ROUNDS=3 table_of "Tokenizer" bench/tokenizer.sh >"$out/tokenizer.md"
}

# ---- all of them ----

mkdir -p "$out"
if [ -z "${MM1_BUILD:-}" ]; then
    { cmake --preset release && cmake --build "$build" --target mm1 bench_rows bench_tokenizer; } >"$out/build.log" 2>&1 || {
        tail -n 20 "$out/build.log" >&2
        die "the program does not build; the whole log is $out/build.log"
    }
fi
if [ "${1:-}" = --baseline ]; then
    count_instructions >"$out/counts.tsv"
    cp "$out/counts.tsv" $baseline
    note "$baseline holds $(wc -l <$baseline) counts; read its diff"
    exit 0
fi
wanted=${*:-$all}
for section in $wanted; do
    [[ " $all $by_name " == *" $section "* ]] || die "unknown section '$section' (of $all $by_name)"
done
# Results of an earlier run must not pass for those of this one.
rm -f "$out"/*.json "$out"/*.md "$out"/*.tsv
if awk '{ exit !($1 > 0.5) }' /proc/loadavg; then
    note "other work runs on this machine (load $(cut -d' ' -f1 /proc/loadavg)): only the ratios say something"
fi
for section in $wanted; do
    note "$section"
    "section_$section"
done
"$build/mm1" bench report "$out"
cat "$out/bench.md"
note "all figures: $out/bench.json, $out/bench.md"

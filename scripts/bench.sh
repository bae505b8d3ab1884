#!/bin/bash
# bench.sh - builds and runs the benchmarks of bench/ and prints a summary; the full output is kept beside it.
#
#   scripts/bench.sh [gemm|attention|rows]...    all of them without arguments (one to three minutes)
#
#   MM1_BUILD    build folder (default build/release)
#   MM1_THREADS  compute threads; MM1_ISA=ref|avx2|avx512 forces a set of kernels
#
# A speed is shown beside what it can be compared with on this machine, measured in the same run: the rate of
# multiply-adds in registers, OpenBLAS where it is installed (apt-get install libopenblas-openmp-dev), or the plain C
# version of a kernel.  On a machine that does other work at the same time only the ratios say something.
set -eu
cd "$(dirname "$0")/.."
build=${MM1_BUILD:-build/release}
out=out/bench

wanted=" ${*:-gemm attention rows} "
for what in $wanted; do
    case $what in
    gemm | attention | rows) ;;
    *)
        echo "bench.sh: unknown benchmark '$what' (gemm, attention, rows)" >&2
        exit 2
        ;;
    esac
done

if [ "$build" = build/release ]; then
    cmake --preset release >/dev/null
fi
mkdir -p $out
cmake --build "$build" --target bench_gemm bench_rows >$out/build.log 2>&1 || {
    tail -n 20 $out/build.log >&2
    echo "bench.sh: the benchmarks do not build; the whole log is $out/build.log" >&2
    exit 1
}

# The first line that matches a pattern, or nothing.
fact() {
    sed -n "s/^$1[^:]*: *//p" "$2" 2>/dev/null | head -n 1
}

# Runs a program, keeps its output, and shows that it is at work.
run() { # name, command...
    local name=$1
    shift
    echo "running $name ..." >&2
    "$@" >"$out/$name.txt" || {
        echo "bench.sh: $* failed; its output is in $out/$name.txt" >&2
        exit 1
    }
}

load=$(cut -d' ' -f1 /proc/loadavg)
printf 'machine   %s, %s CPUs, load %s\n' "$(fact 'model name' /proc/cpuinfo)" "$(nproc)" "$load"
if awk -v load="$load" 'BEGIN { exit !(load > 0.5) }'; then
    printf '          other work runs on this machine: rates are too low, and shares of the peak may pass 1\n'
fi
has_openblas=0
if ldd "$build/bench_gemm" | grep -q openblas; then
    has_openblas=1
fi

# For awk: the field beside a word of the line.
field='
    function before(word, i) { for (i = 2; i <= NF; i++) if ($i == word) return $(i - 1) }
    function after(word, i) { for (i = 1; i < NF; i++) if ($i == word) return $(i + 1) }
'

if [[ $wanted == *" gemm "* ]]; then
    run gemm "$build/bench_gemm" gemm
    run gemm_few "$build/bench_gemm" few
    printf 'kernels   %s\n' "$(head -n 1 $out/gemm.txt)"
    # NT Y = X W^T, NN dX = dY W, TN dW = dY^T X
    printf '\nmatrix product, GFLOP/s: median over the shapes of training\n'
    for form in NT NN TN; do
        grep "^$form " $out/gemm.txt | awk "$field"'{ print before("GFLOP/s"), after("ratio") }' | sort -n >$out/.form
        awk -v form=$form -v blas=$has_openblas '
            BEGIN { what["NT"] = "forward"; what["NN"] = "input gradient"; what["TN"] = "weight gradient" }
            { rate[NR] = $1; log_sum += blas ? log($2) : 0 }
            END {
                printf "  %-16s %7.1f  (%.1f to %.1f)", what[form], rate[int((NR + 1) / 2)], rate[1], rate[NR]
                if (blas)
                    printf "  %.2f x OpenBLAS", exp(log_sum / NR)
                printf "\n"
            }' $out/.form
    done
    rm -f $out/.form
    printf 'few rows (generation), GB/s of the weights read\n'
    for rows in 1 4 16; do
        grep -E "^NT +$rows x 32000 " $out/gemm_few.txt | awk -v rows=$rows -v blas=$has_openblas "$field"'{
            printf "  %2d rows          %7.1f", rows, before("GB/s")
            if (blas)
                printf "  %.2f x OpenBLAS", after("ratio")
            printf "\n"
        }'
    done
    if [ $has_openblas = 0 ]; then
        printf '  (OpenBLAS is not installed: no comparison)\n'
    fi
fi

if [[ $wanted == *" attention "* ]]; then
    run attention "$build/bench_gemm" attention
    printf '\nattention, causal: GFLOP/s and share of the multiply-add rate\n'
    sed -n 's/^attention /  /p' $out/attention.txt
fi

if [[ $wanted == *" rows "* ]]; then
    run rows "$build/bench_rows"
    printf '\nother kernels on one thread: ns an element, and gain over plain C\n'
    # The last table of a kernel is the widest that this machine has.
    awk '$1 == "kernel" { next }
        {
            # The name may have a blank; table, ns, GB/s and gain are the last four.
            name = $1
            for (i = 2; i <= NF - 4; i++)
                name = name " " $i
            if (!(name in gain))
                order[++n] = name
            table[name] = $(NF - 3); ns[name] = $(NF - 2); gain[name] = $NF
        }
        END {
            for (i = 1; i <= n; i++)
                printf "  %-20s %-7s %9.4f  %7s%s", order[i], table[order[i]], ns[order[i]], gain[order[i]], i % 2 && i < n ? "   " : "\n"
        }' $out/rows.txt
fi

printf '\nall figures: %s/\n' $out

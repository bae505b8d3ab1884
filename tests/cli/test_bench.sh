#!/bin/sh
# mm1 bench: every key of the contract with a figure that can be, on a model of no size, with data and without.
. "$(dirname "$0")/lib.sh"
make_tiny

number() { # number KEY FILE: of the outermost object
    sed -n "s/^  \"$1\": \([-0-9.e+]*\),*\$/\1/p" "$2" | head -n 1
}

holds() { # holds FILE AWK-CONDITION KEY...: the numbers of the keys are a[1], a[2], ...
    file=$1 condition=$2
    shift 2
    for key in "$@"; do
        value=$(number "$key" "$file")
        [ -n "$value" ] || fail "no number \"$key\" in $file"
        echo "$value"
    done | awk "{ a[NR] = \$1 } END { exit !($condition) }" || fail "$*: not $condition in $file"
}

# The shares of the operators: each between 0 and 1, and no more than the whole.
shares() {
    sed -n 's/^      "share": \([-0-9.e+]*\),*$/\1/p' "$1" |
        awk '{ sum += $1; bad += $1 < 0 || $1 > 1 } END { exit !(NR > 3 && !bad && sum > 0.3 && sum <= 1.001) }' ||
        fail "the shares of the operators in $1 do not make a whole"
}

plausible() {
    holds "$1" 'a[1] > 0 && a[2] > 0 && a[3] > 0 && a[4] > 0' step_seconds tokens_per_second fma_peak_gflops gemm_gflops
    # On a model of this size hardly anything is a matrix product.
    holds "$1" 'a[1] > 0 && a[1] < 1 && a[2] > 0 && a[2] < 1' mfu non_gemm_share
    holds "$1" 'a[1] >= 0 && a[1] < 1 && a[2] > 1e6 && a[2] < 1e11' loader_wait_share peak_bytes
    holds "$1" 'a[1] > 0 && a[2] > 0' read_gbytes_per_second triad_gbytes_per_second
    says "$1" '"operators"' '"name": "linear"' '"name": "attention"' '"name": "norm"' '"gflops"' '"gbytes_per_second"'
    shares "$1"
}

# The recipe's own data.
expect 0 bench step --recipe tiny.yaml --steps 3 --json
cp out data.json
plausible data.json
says data.json '"made_up": false' '"name": "adamw"' '"name": "head and loss"' '"name": "depthwise convolution"'
holds data.json 'a[1] > 0' images_per_second
# Nothing has been learned: about ln 320 + 1/2.
holds data.json 'a[1] > 5 && a[1] < 8' first_loss

# Without data: the tokenizer is not there either.
expect 0 bench step --recipe tiny.yaml --steps 2 --images 2 --json --set tokenizer= --set model.decoder.vocab_size=320
cp out made.json
plausible made.json
says made.json '"made_up": true'
holds made.json 'a[1] == 4 * 96 && a[2] == 8' positions images
holds made.json 'a[1] > 5 && a[1] < 8' first_loss
expect 0 bench step --recipe "$root/bench/recipes/decoder.yaml" --steps 1 --json --set data.batch=1 --set data.seq_len=16 \
    --set model.decoder.n_layers=1
says out '"images": 0.0'
expect 0 bench step --recipe tiny.yaml --part vision --steps 2 --json
cp out vision.json
plausible vision.json
holds vision.json 'a[1] == 4' images
! grep -q first_loss vision.json || fail "the encoder alone has no loss"
# Text alone has a loss too: it was 0 where no picture was asked for.
expect 0 bench step --recipe tiny.yaml --steps 1 --images 0 --json
cp out text.json
holds text.json 'a[1] > 5 && a[1] < 8' first_loss
expect 0 bench step --recipe tiny.yaml --steps 1 --images 0
says out "first loss" "MFU" "linear" "GFLOP/s" "GB/s" "between operators"

expect 2 bench step --recipe tiny.yaml --images 40 --steps 1
says err "has no room for 40 images" "--images"
expect 2 bench step
says err "--recipe is wanted"
expect 2 bench step --recipe tiny.yaml --part decoder
says err "--part decoder" "vision"
rm -rf data
code=0
"$mm1" bench step --recipe tiny.yaml --steps 1 >out 2>err || code=$?
[ $code -ne 0 ] || fail "data that is not there was not missed"
says err captions

# The matrix product: three forms, on one thread and on all; other libraries where they are installed.
expect 0 bench gemm --shape 64,48,32 --threads 2 --json
for form in NT NN TN; do
    says out "\"form\": \"$form\""
done
says out '"operands": "from memory"' '"library": "mm1"' '"fraction_of_peak"' '"fraction_of_fma"' '"gflops"' '"missing"' '"m": 64' '"n": 48' '"k": 32'
[ "$(grep -c '"library": "mm1",\{0,1\}$' out)" = 6 ] || fail "not three forms on two numbers of threads"
[ "$(grep -c '"library": "mm1-bf16",\{0,1\}$' out)" = 6 ] || fail "not as many in bf16"
expect 0 bench gemm --shape 16,16,16 --threads 1
says out "NT       16     16     16   1"
expect 0 bench gemm --shape 16,16,16 --threads 1 --form NN --hot --json
says out '"operands": "hot"'
expect 0 bench gemm --shape 16,16,16 --threads 1 --form TN --beside mm1-bf16 --json
[ "$(grep -c '"form": "TN"' out)" = 2 ] && [ "$(grep -c '"library"' out)" = 2 ] || fail "not one form beside bf16 alone"
expect 2 bench gemm --form XX
says err "--form XX"
expect 2 bench gemm --beside mkl
says err "--beside mkl"
expect 2 bench gemm --shape 1,2
says err "--shape 1,2"
expect 2 bench gemm --shape 0,2,3
says err "--shape 0,2,3"

# Attention: the shapes of one length.
expect 0 bench attention --positions 196 --threads 1
says out "T   196 of  1" "of peak"
[ "$(wc -l <out)" = 1 ] || fail "not one shape of 196 positions"
expect 2 bench attention --positions 3
says err "sequences of 3 positions"

# Growth: every axis, or one, of a recipe without data.
grow="--recipe tiny.yaml --set tokenizer= --set model.decoder.vocab_size=320 --set train.threads=1"
# shellcheck disable=SC2086
expect 0 bench growth $grow --sizes 1 --json
for axis in width depth length rows images resolution vocabulary experts; do
    says out "\"axis\": \"$axis\""
done
says out '"recipe"' '"isa"' '"rounds"' '"gflop"' '"base_seconds"' '"arena_bytes"'
[ "$(grep -c '"relative": [0-9]' out)" = 8 ] || fail "not one size of each axis"
cp out growth.json
# shellcheck disable=SC2086
expect 0 bench growth $grow --axis depth --images 0
says out "depth " "relative"
[ "$(grep -c '^depth' out)" = 2 ] || fail "depth has two sizes"
expect 2 bench growth
says err "--recipe is wanted"
expect 2 bench growth --recipe tiny.yaml --axis height
says err "--axis height" "vocabulary"

# The report of a folder: ratios of pairs, and the section of somebody else.
mkdir results
cp made.json results/step-tiny.1.mm1.json
cp made.json results/step-tiny.2.mm1.json
seconds=$(number step_seconds made.json)
for turn in 1 2; do
    awk -v s="$seconds" -v f=$((turn + 1)) 'BEGIN { printf "{\"step_seconds\": %.9g, \"first_loss\": 6.25}\n", f * s }' \
        >results/step-tiny.$turn.eager.json
done
"$mm1" bench gemm --shape 16,16,16 --json >results/gemm.json
cp growth.json results/growth.json
echo '{"images_per_second": 7}' >results/other.json
echo '## Other' >results/other.md
printf 'add\tref\t100\t100\naxpy\tref\t150\t100\n' >results/kernels.tsv
expect 0 bench report results
says results/bench.md "| tiny |" "**3.00**" "6.250" "## Other" "Matrix product" "Growth of a step" "| length |" "| axpy | ref | 150 | 100 | 1.50 |" \
    "1 of 2 counts" "multiply-adds in registers"
says results/bench.json '"torch_eager"' '"time_ratio"' '"other"' '"gemm"' '"kernels"' '"machine"'
# Again: what the report wrote is not part of it.
cp results/bench.json first.json
expect 0 bench report results
cmp -s first.json results/bench.json || fail "the report reads itself"
echo '{' >results/gemm.json
expect 3 bench report results
says err gemm.json "run this section"
expect 2 bench report
says err "FOLDER is wanted"

# The whole script in its short form, where there is no PyTorch.
build=$(dirname "$mm1")
MM1_BUILD=$build MM1_BENCH_QUICK=1 MM1_BENCH_OUT=$tmp/quick MM1_BENCH_PEERS=$tmp/none bash "$root/scripts/bench.sh" gemm \
    step >out 2>err || fail "scripts/bench.sh"
says err "no PyTorch at $tmp/none" "bench/peers/setup.sh"
says quick/bench.md "| decoder |" "| vit |" "Matrix product" "decoder by operator"
says quick/bench.json '"steps"' '"mfu"'
code=0
MM1_BUILD=$build MM1_BENCH_OUT=$tmp/quick bash "$root/scripts/bench.sh" nothing >out 2>err || code=$?
[ $code -ne 0 ] || fail "an unknown section is no error"
says err "unknown section 'nothing'"

#!/bin/sh
# What the program says to somebody who asks for help or makes a mistake.
. "$(dirname "$0")/lib.sh"

# Help of everything, found by walking the lists of commands; every option that a command's own help lists is spelt out.
expect 0 --help
says out Usage: data tokenizer recipe plan pretrain inspect convert doctor
cp out commands
sed -n 's/^  \([a-z]*\)  *.*/\1/p' commands >names
[ "$(wc -l <names)" -ge 8 ] || fail "the list of commands is short"
while read -r command; do
    expect 0 "$command" --help
    says out "Usage: mm1 $command"
    if grep -q 'COMMAND' out; then
        sed -n 's/^  \([a-z]*\)  *.*/\1/p' out >subnames
        [ -s subnames ] || fail "mm1 $command lists no commands"
        while read -r sub; do
            expect 0 "$command" "$sub" --help
            says out "Usage: mm1 $command $sub"
            says out "--help"
            expect 2 "$command" "$sub" --no-such-option
            says err "mm1 $command $sub --help"
        done <subnames
        expect 2 "$command" no-such-command
        says err "no command \"no-such-command\""
    else
        says out "--help"
        expect 2 "$command" --no-such-option
        says err "mm1 $command --help"
    fi
done <names

options() {
    expect 0 $1 --help
    shift
    says out "$@"
}
options "data build" --set=KEY=VALUE --list-sources
options "data inspect" --n=N --html=FILE --set=KEY=VALUE
options "tokenizer train" --vocab-size=N --min-frequency=N --output=FILE --recipe=RECIPE --set=KEY=VALUE
options "recipe resolve" --set=KEY=VALUE
options "recipe get" --set=KEY=VALUE
options "plan" --set=KEY=VALUE --gflops=G --json
options "pretrain" --run=DIR "--resume=auto|never|DIR" --set=KEY=VALUE --quiet
options "sft" --run=DIR "--resume=auto|never|DIR" --set=KEY=VALUE --quiet
options "merge-lora" "--dtype=f32|bf16|f16" --force
options "inspect" --tensors --json
options "upcycle" --experts=E --every=N --top-k=K --seed=SEED "--dtype=f32|bf16|f16" --force
options "convert" "--to=mm1|hf|gguf" "--dtype=f32|bf16|f16|q8_0|q4_0" --encoder --force
options "encode" --model=DIR --image=FILE --output=FILE --image-size=PX
options "probe" --model=DIR --dataset=NAME --data=DIR --pixels --limit=N --json
options "doctor" --json
expect 0 --version
says out "mm1 "

# Mistakes: exit code 2, and the nearest name.
expect 2
says err Usage:
expect 2 pretran
says err 'did you mean "pretrain"?'
expect 2 recipe resolv
says err 'did you mean "resolve"?'
expect 2 pretrain
says err "RECIPE is wanted"
expect 2 pretrain a.yaml b.yaml
says err '"b.yaml" is one more'
expect 2 plan "$root/recipes/smoke.yaml" --gflops many
says err "--gflops many"
expect 2 data inspect "$root/recipes/smoke.yaml" --n 0
says err "--n 0" "from 1 to"
expect 2 convert somewhere
says err "DEST is wanted"
expect 2 convert a b --dtype int8
says err "--dtype int8" "bf16"
expect 2 convert a b --to onnx
says err "--to onnx" "hf"
expect 2 convert a b --dtype q8_0
says err "--to gguf"
expect 2 convert a b --to gguf
says err ".gguf"
expect 2 convert a b c
says err '"c" is one more'
expect 2 recipe get "$root/recipes/smoke.yaml" train.n_stepz
says err "n_steps"
expect 2 pretrain "$root/recipes/smoke.yaml" --set train.n_steps=0
says err "--set" train.n_steps
expect 2 pretrain "$root/recipes/smoke.yaml" --set train.n_steps
says err "key=value"

# Recipes: the place and the nearest key.
printf 'name: x\ntrain:\n  n_stepz: 3\n' >bad.yaml
expect 2 recipe resolve bad.yaml
says err "bad.yaml:3" "n_stepz" "n_steps"
printf 'train: {lr_peak: 7}\n' >bad.yaml
expect 2 plan bad.yaml
says err "bad.yaml:1" "lr_peak"
printf 'train: [\n' >bad.yaml
code=0
"$mm1" pretrain bad.yaml >out 2>err || code=$?
[ $code -eq 2 ] || [ $code -eq 3 ] || fail "broken YAML: exit code $code"
says err "bad.yaml:"
expect 4 pretrain no-such-recipe.yaml
says err no-such-recipe.yaml
expect 4 inspect no-such-folder
says err no-such-folder

# The machine.
expect 0 doctor
says out version compiler isa threads memory matrix_product memory_bandwidth libturbojpeg libpng libwebp libarchive \
    zstd jansson libyaml pcre2 gumbo freetype cache folder_writable
expect 0 doctor --json
says out '"ok": true' '"problems"'
code=0
MM1_ISA=nonsense "$mm1" doctor >out 2>err || code=$?
[ $code -eq 1 ] || fail "MM1_ISA=nonsense: exit code $code"
says out MISSING nonsense

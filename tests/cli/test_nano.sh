#!/bin/sh
# The released models.  mm1-nano names what was drawn for it, and finds right captions likelier than wrong ones;
# mm1-nano-chat answers questions about it.
# Usage: test_nano.sh PATH/TO/mm1
. "$(dirname "$0")/lib.sh"
model=$root/models/mm1-nano
drawn=$root/tests/data/drawn

# The folder is a whole model and small enough to come with the program.
expect 0 inspect "$model" --json
says out '"c_abstractor"'
for m in mm1-nano mm1-nano-chat; do
    bytes=$(cat "$root/models/$m"/* | wc -c)
    [ "$bytes" -le 20000000 ] || fail "models/$m takes $bytes bytes"
done

# One word of each caption, of pictures that no data set holds; greedy, so that the answer is always the same.
kind() { # PICTURE WORD
    expect 0 generate -m "$model" --image "$drawn/$1.png" --max-tokens 24
    says out "$2"
}
kind flag "flag of"
kind face "emoji: "

# Log-probability of a caption after a picture.
score() { # PICTURE CAPTION
    printf '{"parts":[{"type":"image","path":"%s"},{"type":"text","text":"%s"}]}' "$drawn/$1.png" "$2" >document.json
    expect 0 score -m "$model" --document document.json --json
    sed -n 's/.*"sum_logprob": *\(-[0-9.e]*\).*/\1/p' out | head -n 1
}
better() { # CAPTION RIGHT WRONG: likelier after the picture RIGHT than after WRONG
    right=$(score "$2" "$1")
    wrong=$(score "$3" "$1")
    [ -n "$right" ] && [ -n "$wrong" ] || fail "no log-probability of \"$1\""
    awk "BEGIN { exit !($right > $wrong + 2) }" || fail "\"$1\": $right after $2, $wrong after $3"
}
better "emoji: smiling face" face dialog
better "flag of France" flag face
better "plot: Sine function" plot flag
better "figure: The dialog" dialog flag

# The same question with its answers in two orders.
answers() { # PICTURE QUESTION ANSWER
    expect 0 generate -m "$root/models/mm1-nano-chat" --chat --image "$drawn/$1.png" --prompt "$2" --max-tokens 8
    [ "$(cat out)" = "$3" ] || fail "\"$2\" about $1: $(cat out)"
}
answers flag "Which kind of thing is it, food, a flag or a person?" flag
answers flag "Which kind of thing is it, a person, food or a flag?" flag

# It reads two thirds of held-out signs; guessing among the answers of each kind would find one in eight.
cat >signs.yaml <<'EOF'
name: signs
build:
  out: signs
  max_px: 160
  questions:
    - {kind: signs, train: 8, heldout: 64}
EOF
expect 0 data build signs.yaml
# It still does behind four demonstrations, which it once did not survive.
for shots in 0 4; do
    expect 0 eval -m "$root/models/mm1-nano-chat" --chat --data signs --tasks heldout_questions --shots $shots --json
    score=$(sed -n 's/^ *"score": *\([0-9.]*\).*/\1/p' out | head -n 1)
    awk "BEGIN { exit !(${score:-0} >= 50) }" || fail "reads ${score:-no} % of the signs after $shots others"
done

# A question of more pictures than a prompt may hold is refused in a sentence.
set --
i=0
while [ $i -lt 17 ]; do
    set -- "$@" --image "$drawn/flag.png"
    i=$((i + 1))
done
expect 3 generate -m "$model" "$@"
says err "16"

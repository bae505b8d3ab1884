#!/bin/sh
# mm1 eval --tasks: every reader end to end on a model of a public shape, resuming, comparing, a server, bad input.
. "$(dirname "$0")/lib.sh"
sh "$root/tests/support/bench_data.sh" data
model=$root/tests/data/whole/smolvlm

# The table; and every public benchmark of it, on random weights of SmolVLM's shape.
expect 0 eval --list-tasks
says out vqav2 v2_mscoco_val2014_annotations.json "the other items of test" fashion_mnist
expect 0 eval --list-tasks --data data
says out "Files are there in data for: coco, coco_val2014, nocaps, textcaps,"
tasks=$(awk 'NR > 1 && /^[a-z]/ {print $1}' out | grep -v -e heldout_captions -e fashion_mnist | paste -sd ,)
expect 0 eval -m "$model" --tasks "$tasks,data/own/task.yaml" --data data --max-tokens 3 --output run --show-prompts 1
[ "$(grep -c ' n [1-9]' out)" = "$(echo "$tasks,x" | tr , '\n' | wc -l)" ] || fail "not every task has a line with items"
mean=$(awk '$1 ~ /^(arc_easy|arc_challenge|piqa|lambada|winogrande|hellaswag|sciq|triviaqa|webqs)$/ {s += $3} END {print s / 9}' out)
awk -v want="$mean" '$1 == "textcore" && ($3 - want) ^ 2 < 1e-4 {n++} END {exit n != 1}' out || fail "textcore is not the mean of its nine"
says run/results.json '"group": "textcore"' '"group": "fewshot"'
says out "1 ids double" "1 questions without an answer" "1 answers to no question" "1 items without their picture" \
    "1 records malformed" "Is <image: b.png> like <image: a.png>? Short answer:"
says err "v2_mscoco_val2014_annotations.json:6: left out: answers to no question" "vqav2: left out: id 1002 is there" \
    "MMBench_DEV_EN.tsv:6: left out: it has not as many columns"
says run/samples.jsonl '"task": "mmmu"' '"logprobs": [' '"picked_per_char"' '<image: COCO_val2014_000000000001.jpg>A photo of'
says run/results.json '"task": "own_questions"' '"without_picture": 1' '"perception"' '"f1"' '"bleu4"' '"model_hash"'
says run/samples.html 'src="pictures/00000.png"' "<h2>vqav2, 0 shots</h2>" "wrong" "What colour is the bar?"
says run/exports/mmmu-0shot.json '"question_type": "short-answer"' '"index2ans": {"A": "yes", "B": "no"}' '"response"'
says run/exports/mathvista-0shot.json '"2": {' '"question_type": "multi_choice"' '"response"'
says run/exports/llava_bench-0shot.jsonl '"question_id": 0,' '"answer_id"'
says run/exports/vqav2-0shot.json '"question_id": 1000,'
says run/exports/vizwiz_test-0shot.json '[{"image": "VizWiz_test_00000000.jpg", "answer": '
[ "$(grep -c '"task": "scienceqa",' run/samples.jsonl) $(grep -c '"task": "scienceqa_img"' run/samples.jsonl)" = "2 1" ] ||
    fail "one of two questions of ScienceQA has a picture"
says run/exports/mmbench-0shot.tsv "241" "1000242"
says out "each_pass 0.00"
[ "$(grep -A 1 '"id": "242"' run/samples.jsonl | grep -c '"id": "1000242".*"score": null')" = 1 ] ||
    fail "the second pass does not stand behind its question"
head -c 15 run/records.sqlite | grep -q "SQLite format 3" || fail "records.sqlite is no database"

# Ids of an export: only what reads back as it was is a number.
for id in 7 007 99999999999999999999 -0; do echo '{"id": "'$id'", "question": "Which?", "answer": "x"}'; done >ids.jsonl
printf 'name: ids\ntest: {file: ids.jsonl}\nexport_as: vqa\n' >ids.yaml
expect 0 eval -m "$model" --tasks ids.yaml --data . --max-tokens 1 --output ids
says ids/exports/ids-0shot.json '"question_id": 7,' '"question_id": "007",' '"question_id": "99999999999999999999",' \
    '"question_id": "-0",'

# Scores are the same for any batch and any number of threads; what was answered is not asked again, also behind a line that was cut.
some=vqav2,scienceqa,arc_easy,winogrande,mmmu
for batch in 1 7; do
    expect 0 eval -m "$model" --tasks $some --data data --shots 0,1 --batch-size $batch --output b$batch --json \
        --threads $((batch / 3 + 1))
    cp out json$batch
done
cmp b1/samples.jsonl b7/samples.jsonl || fail "samples depend on the batch size"
cmp json1 json7 || fail "results depend on the batch size"
sort b1/answers.jsonl >sorted1
sort b7/answers.jsonl | cmp - sorted1 || fail "answers depend on the batch size"
says json1 '"n_known": 0'
cp b1/samples.jsonl before.jsonl
lines=$(wc -l <b1/answers.jsonl)
head -c -20 b1/answers.jsonl >cut && mv cut b1/answers.jsonl
expect 0 eval -m "$model" --tasks $some --data data --shots 0,1 --output b1 --json
cmp b1/samples.jsonl before.jsonl || fail "a resumed run differs"
[ "$(wc -l <b1/answers.jsonl)" = $((lines + 1)) ] || fail "more than the one answer that was cut was asked again"
grep -q '"n_known": [1-9]' out || fail "nothing was known"

# Demonstrations: none at 0; two of the training split at 2, never with the query's picture; seeds draw others.
expect 0 eval -m "$model" --tasks vqav2 --data data --shots 0,2 --max-tokens 2 --show-prompts 9 --limit 2
[ "$(grep -c 'COCO_train' out)" = 4 ] || fail "two items with two demonstrations are wanted"
[ "$(grep -c '^<image: COCO_val.*Short answer:$' out)" = 4 ] || fail "four questions are wanted"
expect 0 eval -m "$model" --tasks vqav2 --data data --shots 2 --seeds 3 --max-tokens 2 --output seeds
says out "3 seeds (deviation"
[ "$(wc -l <seeds/samples.jsonl)" = 9 ] || fail "three seeds of three items are nine samples"
[ "$(grep -o question_id seeds/exports/vqav2-2shot.json | wc -l)" = 3 ] || fail "a server takes one answer to a question"
mv data/coco/train2014/COCO_train2014_000000000011.jpg away.jpg
expect 0 eval -m "$model" --tasks vqav2 --data data --shots 1 --max-tokens 2 --show-prompts 9
mv away.jpg data/coco/train2014/COCO_train2014_000000000011.jpg
says err "vqav2: a demonstration is passed over" "COCO_train2014_000000000011.jpg"
[ "$(grep -c COCO_train2014_000000000012 out)" = 3 ] || fail "the demonstration that can be shown stands before all"
expect 0 eval -m "$model" --tasks vqav2 --data data --shots 2 --shot-choice fixed --max-tokens 2 --show-prompts 9
[ "$(grep COCO_train out | sort | uniq -c | awk '$1 == 3' | wc -l)" = 2 ] || fail "fixed demonstrations differ"
expect 0 eval -m "$model" --tasks vqav2 --data data --shots 1 --shot-choice similar --max-tokens 2 --show-prompts 9
[ "$(grep -A 1 'COCO_train2014_000000000011' out | grep -c 'COCO_val2014_000000000001')" = 2 ] ||
    fail "questions about the bar want the demonstration with a bar"
[ "$(grep -A 1 'COCO_train2014_000000000012' out | grep -c 'COCO_val2014_000000000002')" = 1 ] ||
    fail "the question about the circle wants the demonstration with a circle"

# The control: an item without its picture, with another item's, and the demonstrations as they were.
expect 0 eval -m "$model" --tasks heldout_questions --data data --shots 0 --show-prompts 9 --max-tokens 2 --output plain
says out "<image: messages-0000.tar#k-1.0.png>Question: What is it? Short answer:" \
    "Question: See <image: messages-0000.tar#k-2.0.png>: what is it? Short answer:" "majority 33.33" "1 records malformed"
says plain/results.json '"naming.shape": {' '"pictures": "true"'
expect 0 eval -m "$model" --tasks heldout_questions --data data --pictures none --show-prompts 9 --max-tokens 2
says out "Question: See : what is it? Short answer:"
! grep -q "<image" out || fail "no picture was to be shown"
expect 0 eval -m "$model" --tasks heldout_questions --data data --pictures shuffled --show-prompts 9 --max-tokens 2 -o other
[ "$(grep -c '<image: messages-0000.tar#k-[123].0.png>' out)" = 3 ] || fail "three pictures are wanted"
! grep -q "k-2.0.png>: what" out || fail "an item kept its picture"
expect 0 eval compare plain other
says out heldout_questions "n 3"

# Chain of thought, votes, letters and likelihoods, messages.
expect 0 eval -m "$model" --tasks scienceqa --data data --shots 1 --cot
says out "2 prompts too long for the context" "n 0"
expect 0 eval -m "$root/models/mm1-nano" --tasks scienceqa --data data --shots 1 --cot --votes 3 --max-tokens 4 --show-prompts 1 -o cot
grep -qE "Answer: .*(look at the compass rose. The answer is A|e, i, o and u. The answer is B)\.$" out ||
    fail "the demonstration shows no rationale"
says cot/samples.jsonl '"written": ['

# Kept answers stand in for what a model says: the letter of most votes wins, and what has none is no vote against it.
ask="--tasks arc_easy --data data --choose-by letter --votes 5 --max-tokens 2 -o votes"
expect 0 eval -m "$model" $ask
sed -i 's/"texts": *\[.*\]/"texts": ["hm", "B", "A", "hm", "A"]/' votes/answers.jsonl
expect 0 eval -m "$model" $ask
[ "$(grep -c '"answer": "A"' votes/samples.jsonl)" = 2 ] || fail "two of five say A, one says B"
sed -i 's/"texts": *\[.*\]/"texts": ["hm", "hm", "hm", "B", "hm"]/' votes/answers.jsonl
expect 0 eval -m "$model" $ask
[ "$(grep -c '"answer": "B"' votes/samples.jsonl)" = 2 ] || fail "answers without a letter outvote one with a letter"
expect 0 eval -m "$model" --tasks arc_easy --data data --choose-by letter --show-prompts 1
says out "A. Sunlight is the source of energy." "unread"
expect 0 eval -m "$model" --tasks mmbench --data data --choose-by likelihood
says out "accuracy_per_char"
expect 0 eval -m "$model" --tasks vqav2 --data data --chat --max-tokens 2 --show-prompts 1
says out "User:" "Answer the question using a single word or phrase." "<end_of_utterance>"
expect 0 eval -m "$root/models/mm1-nano" --tasks vqav2 --data data --chat-template plain --shots 1 --max-tokens 2 --show-prompts 9
[ "$(grep -c '^Assistant: [a-z0-9]*<eos>User:' out)" = 3 ] || fail "a demonstration is a turn of its own"

# The last demonstration with all crops, the one before as an overview.
expect 0 eval -m "$root/tests/data/whole/llava_next" --tasks vqav2 --data data --shots 2 --subimage-shots 1 --limit 1 \
    --max-tokens 2 --show-prompts 1
grep '^<image: COCO_train' out | grep -n ', overview>' | cut -c 1-2 | grep -qx 1: ||
    fail "the first of two demonstrations, and no other, is an overview"

# Classes from examples: pictures of 4 x 4 px, three of each class for demonstrations, in files like those of MNIST.
mkdir -p cache/root/usr/share/datasets/fashion-mnist
byte() { printf "\\$(printf %o "$1")"; }
idx() { # name, pictures
    dir=cache/root/usr/share/datasets/fashion-mnist
    { printf '\0\0\10\3\0\0\0'; byte "$2"; printf '\0\0\0\4\0\0\0\4'; } >$dir/$1-images-idx3-ubyte
    { printf '\0\0\10\1\0\0\0'; byte "$2"; } >$dir/$1-labels-idx1-ubyte
    for i in $(seq 0 $(($2 - 1))); do
        byte $((i % 10)) >>$dir/$1-labels-idx1-ubyte
        for p in $(seq 16); do byte $(((i * 7 + p * (i % 10) * 9) % 256)); done >>$dir/$1-images-idx3-ubyte
    done
}
idx train 40
idx t10k 10
export MM1_CACHE_DIR=$tmp/cache
expect 0 eval -m "$root/models/mm1-nano" --tasks fashion_mnist --shots 0,1 --limit 2 --show-prompts 2 --output classes
[ "$(grep -c '^<image: train-images.*>A photo of a [a-z]' out)" = 10 ] || fail "five classes, one demonstration each"
[ "$(grep -c '"choices": \["[a-z -]*", "[a-z -]*", "[a-z -]*", "[a-z -]*", "[a-z -]*"\]' classes/samples.jsonl)" = 4 ] ||
    fail "each item offers five classes"

# Training picture i is test picture i: of all classes the most similar, which stands last.
expect 0 eval -m "$root/models/mm1-nano" --tasks fashion_mnist --shots 1 --shot-choice similar --show-prompts 10
for i in 0 1 2 3 4 5 6 7 8 9; do
    grep -B 1 "^<image: t10k.*#$i>" out | grep -q "^<image: train.*#$i>" ||
        fail "the most similar demonstration of picture $i does not stand last"
done

expect 0 eval -m "$root/models/mm1-nano" --tasks fashion_mnist --shots 4 --limit 1
says out "1 prompts too long for the context"
expect 0 eval -m "$root/models/mm1-nano" --tasks fashion_mnist --shots 4 --limit 1 --max-images 21
says out "n 1;"

# The demo's captions, and two models on the same items.
mv data public && make_tiny
mkdir heldout && cp -r data/train heldout/train && mkdir heldout/heldout && cp data/train/captions-*.tar heldout/heldout
rm -r data && mv public data
expect 0 eval -m "$root/models/mm1-nano" --tasks heldout_captions --data heldout --limit 3 --max-tokens 6 --output nano
says out "heldout_captions" "n 3"
sed 's/"score": 100/"score": 0/' b1/samples.jsonl >b7/samples.jsonl
expect 0 eval compare b1 b7/samples.jsonl
says out "winogrande" "first minus second"
expect 0 eval compare b1 b1 --json
says out '"difference": 0.0' '"low": 0.0' '"n": 3'
expect 3 eval compare b1 nano
says err "no item with a score in common"
expect 2 eval compare b1

# A server: the first request is refused and sent again; a picture goes along.
if [ -x "$(dirname "$mm1")/tests/chat_stub" ]; then
    "$(dirname "$mm1")/tests/chat_stub" 7 >port &
    stub=$!
    while [ ! -s port ]; do sleep 0.1; done
    url=http://127.0.0.1:$(cat port)
    expect 0 eval -m stub --base-url "$url" --tasks pope_random,vqav2 --data data --output server --batch-size 2
    says out "accuracy 66.67" "vqav2"
    says err "are sent again"
    says server/samples.jsonl '"answer": "yes. Because of 1"'
    sed -n '/<h2>pope_random/,/<\/section>/p' server/samples.html >section
    [ "$(sed '/class="good"/,$d' section | grep -c '<article>')" = 1 ] || fail "one answer of three is wrong"
    [ "$(sed '1,/class="good"/d' section | grep -c '<article>')" = 2 ] || fail "two answers of three are right"
    wait $stub
    expect 4 eval -m stub --base-url "$url" --tasks vqav2 --data data --limit 1
    says err "/v1/chat/completions"
fi
expect 3 eval -m stub --base-url http://127.0.0.1:1 --tasks arc_easy --data data
says err "--choose-by letter"
for option in "--image-size 28" "--image-mode plain" "--max-images 9" "--subimage-shots 1" "--chat-template plain"; do
    expect 2 eval -m stub --base-url "http://127.0.0.1:1" --tasks vqav2 --data data $option
    says err "in its own way"
done
expect 2 eval -m stub --base-url ftp://x --tasks vqav2 --data data
says err "begins with http://"

# What is wrong.
expect 2 eval -m "$model" --tasks nothing --data data
says err '"nothing" is no task' "--list-tasks"
expect 4 eval -m "$model" --tasks vqav2 --data nowhere
says err "nowhere/vqav2/v2_OpenEnded_mscoco_val2014_questions.json is not there" "--data"
expect 2 eval -m "$model" --tasks captions,vqav2 --data data
says err "a run of their own"
expect 2 eval -m "$model" --tasks captions --data data --seeds 2
says err "are for benchmarks"
expect 2 eval -m "$model" --tasks vqav2 --data data --choose-by letter
says err "offers no choices"
expect 2 eval -m "$model" --tasks arc_easy --data data --cot
says err "by letter rather than by likelihood"
expect 2 eval -m "$model" --tasks vqav2 --data data --shots 9
says err "9 demonstrations are wanted"
printf 'name: x\ntest: {file: own/questions.jsonl}\nmetrics: vqa\n' >bad.yaml
expect 2 eval -m "$model" --tasks bad.yaml --data data
says err "bad.yaml:3: unknown key 'metrics'"
rm data/coco/val2014/*
expect 4 eval -m "$model" --tasks vqav2 --data data
says err "none of its 3 items has its picture" "COCO_val2014_000000000001.jpg"

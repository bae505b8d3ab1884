#!/bin/sh
# mm1 metrics: the formats of the benchmarks' files, and what is said of records that do not fit.
. "$(dirname "$0")/lib.sh"

cat >said.json <<'END'
[{"image_id": 1, "caption": "A red bus on the street."}, {"image_id": 2, "caption": "a cat"},
 {"image_id": 2, "caption": "a second caption of the cat"}, {"image_id": 9, "caption": "nobody asked"},
 {"image_id": 3}, {"image_id": "x7", "caption": "a dog in the park"}]
END
cat >truth.json <<'END'
{"images": [], "annotations": [
 {"image_id": 1, "id": 1, "caption": "a red bus on the street"}, {"image_id": 1, "id": 2, "caption": "the bus is red"},
 {"image_id": 2, "id": 3, "caption": "A cat."}, {"image_id": 3, "id": 4, "caption": "a tree"},
 {"image_id": "x7", "id": 5, "caption": "a dog is in the park"}, {"image_id": 4, "id": 6, "caption": "a house"}]}
END
expect 0 metrics cider -p said.json -r truth.json --json
says out '"n": 3' '"missing": 2' '"unknown": 1' '"duplicates": 1' '"malformed": 1'
says err "said.json: record 4 is left out"
expect 0 metrics bleu4 -p said.json -r truth.json
says out "bleu1" "of 3 items" "2 references without a prediction"
expect 0 metrics rougel -p said.json -r truth.json --items items.jsonl
says out "of 3 items"
says items.jsonl '{"id":"1","score":100.0}' '{"id":"x7","score":'
[ "$(wc -l <items.jsonl)" = 3 ] || fail "a line an item is wanted"
expect 4 metrics rougel -p said.json -r truth.json --items nowhere/items.jsonl
says err "nowhere/items.jsonl"
expect 0 metrics bleu4 -p said.json -r truth.json --items items.jsonl
says items.jsonl '{"id":"1","score":99.99'

cat >said.json <<'END'
[{"question_id": 1, "answer": "Two"}, {"question_id": 2, "answer": "black-and-white"}]
END
cat >truth.json <<'END'
{"annotations": [
 {"question_id": 1, "answers": [{"answer": "2"}, {"answer": "2"}, {"answer": "two."}, {"answer": "3"}, {"answer": "3"},
   {"answer": "3"}, {"answer": "3"}, {"answer": "3"}, {"answer": "3"}, {"answer": "3"}]},
 {"question_id": 2, "answers": [{"answer": "black and white"}, {"answer": "white"}]}]}
END
# 3 of 10 match: three times 2/3 and seven times 1; 1 of 2: once 0 and once 1/3.
expect 0 metrics vqa -p said.json -r truth.json --json
says out '"score": 53.33' '"n": 2'

echo '[{"questionId": 5, "answer": "Pillow"}]' >said.json
echo '{"data": [{"questionId": 5, "answers": ["willow", "no"]}]}' >truth.json
expect 0 metrics anls -p said.json -r truth.json --json
says out '"score": 83.33'

echo '[{"imgname": "a.png", "query": "q", "answer": "10.4"}, {"imgname": "a.png", "query": "r", "answer": "yes"}]' >said.json
echo '[{"imgname": "a.png", "query": "q", "label": "10"}, {"imgname": "a.png", "query": "r", "label": "no"}]' >truth.json
expect 0 metrics relaxed -p said.json -r truth.json --json
says out '"score": 50.0'

printf '%s\n' '{"question_id": 1, "text": "Yes, there is."}' '{"question_id": 2, "text": "No."}' 'what?' \
    '{"question_id": 3, "answer": "yes"}' >said.jsonl
printf '%s\n' '{"question_id": 1, "label": "yes"}' '{"question_id": 2, "label": "yes"}' \
    '{"question_id": 3, "label": "no"}' >truth.jsonl
expect 0 metrics pope -p said.jsonl -r truth.jsonl --json
says out '"precision": 50.0' '"recall": 50.0' '"f1": 50.0' '"malformed": 1'
says err "said.jsonl: line 3 is left out: it is no JSON"

printf 'a.jpg\tIs it red?\tYes\tYes.\na.jpg\tIs it blue?\tNo\tno\nb.jpg\tA cat?\tYes\tNo\nb.jpg\tA dog?\tNo\tNo\nc.jpg\tx\n' >said.txt
cut -f 1-3 said.txt >truth.txt
expect 0 metrics mme -p said.txt -r truth.txt --json
says out '"score": 125.0' '"accuracy": 75.0' '"accuracy_plus": 50.0' '"n": 4'

# What is wrong altogether.
expect 2 metrics spice -p said.json -r truth.json
expect 2 metrics vqa -p said.json
expect 4 metrics vqa -p nowhere.json -r truth.json
says err "nowhere.json"
echo '{"a": 1}' >bad.json
expect 3 metrics vqa -p bad.json -r truth.json
says err "bad.json: is no list"
echo '[]' >bad.json
expect 3 metrics relaxed -p said.json -r bad.json
says err "do the ids agree"
echo '[{"image_id": 1, "caption": "a b"' >bad.json
expect 3 metrics cider -p bad.json -r truth.json
says err "bad.json:2:"

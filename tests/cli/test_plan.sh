#!/bin/sh
# mm1 plan: the memory that it predicts is what a training takes; paper-size models are planned without taking it.
. "$(dirname "$0")/lib.sh"
make_tiny

number() { # number KEY FILE
    sed -n "s/^ *\"$1\": \([0-9.e+]*\),*\$/\1/p" "$2" | head -n 1
}

set -- --set model.vision.image_size=56 --set model.vision.width=128 --set model.vision.n_layers=3 \
    --set model.vision.mlp_width=512 --set model.decoder.width=192 --set model.decoder.n_layers=3 \
    --set model.decoder.mlp_width=512 --set data.batch=8 --set train.micro_batch=8 --set train.n_steps=8 \
    --set train.checkpoint_every=100
for how in "keep f32" "bf16 f32" "recompute bf16"; do
    run=run-${how%% *}
    how="--set train.activations=${how%% *} --set train.moments=${how##* }"
    expect 0 plan tiny.yaml --gflops 10 --json "$@" $how
    cp out plan.json
    "$mm1" pretrain tiny.yaml --run $run --quiet "$@" $how >out 2>err &
    pid=$!
    peak=0
    while kill -0 $pid 2>kill.log; do
        now=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\) kB/\1/p' /proc/$pid/status 2>sed.log || true)
        [ -z "$now" ] || peak=$now
        sleep 0.02
    done
    wait $pid || fail "training failed"
    [ "$peak" -gt 0 ] || fail "the peak was not seen"
    expect 0 inspect $run/checkpoints/latest --json
    for part in vision connector decoder embeddings all; do
        [ "$(number $part plan.json)" = "$(number $part out)" ] || fail "$part: another number of parameters"
    done
    predicted=$(number peak_resident plan.json)
    echo "$how: peak resident size $peak KiB, predicted $((predicted / 1024)) KiB"
    if "$mm1" doctor | grep -q sanitizer; then
        echo "not compared: a sanitizer takes memory of its own"
    else
        awk -v p="$predicted" -v got="$peak" 'BEGIN { r = p / 1024 / got; exit !(r > 0.9 && r < 1.1) }' ||
            fail "the prediction is off by more than 10 %: $((predicted / 1024)) KiB, but it was $peak KiB"
    fi
done

# 30 billion parameters, no tokenizer, no data.
cat >paper.yaml <<END
name: paper
model:
  vision: {image_size: 378, patch_size: 14, width: 1280, n_layers: 32, n_heads: 16, mlp_width: 5120}
  connector: {kind: c_abstractor, n_tokens: 144, hidden: 1024, depth: 3}
  decoder: {vocab_size: 128256, width: 7168, n_layers: 48, n_heads: 56, mlp_width: 20480, max_positions: 4096}
data:
  seq_len: 4096
  batch: 512
  sources: [{name: captions, kind: captions, path: "nowhere/*.tar", weight: 1}]
END
expect 0 plan paper.yaml --gflops 1e6
says out "31.0G" "by the law" "without the data" "tokenizer estimated" "predicted peak resident size"
expect 0 plan paper.yaml --gflops 1e6 --json
says out '"decoder": 31004990464' '"lr_by_law": true' '"has_data": false'
expect 2 plan paper.yaml --set model.decoder.vocab_size=0
says err "model.decoder.vocab_size"
expect 2 plan paper.yaml --set data.seq_len=100
says err "data.seq_len 100"
expect 2 plan paper.yaml --set model.decoder.max_positions=1024
says err "model.decoder.max_positions"

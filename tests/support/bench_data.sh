#!/bin/sh
# bench_data.sh OUT - a data folder for every benchmark: the files of tests/data/bench, each in the official format of its
# benchmark with made-up content, and beside them pictures and tables with pictures in base64.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$1"
cp -r "$root/tests/data/bench/." "$1"
cd "$1"
tiny=$root/tests/data/tiny
put() { # picture, names...
    from=$tiny/$1.png
    shift
    for name; do
        mkdir -p "$(dirname "$name")"
        cp "$from" "$name"
    done
}
put black-bar coco/val2014/COCO_val2014_000000000001.jpg coco/train2014/COCO_train2014_000000000011.jpg \
    coco/test2015/COCO_test2015_000000000001.jpg nocaps/images/0013ea2087020901.jpg \
    textvqa/train_images/tval.jpg textvqa/train_images/ttrain.jpg \
    vizwiz/val/VizWiz_val_00000000.jpg vizwiz/test/VizWiz_test_00000000.jpg vizwiz/train/VizWiz_train_00000000.jpg gqa/images/gtestdev.jpg \
    chartqa/test/png/ctest.png docvqa/documents/dval.png scienceqa/images/train/1/image.png mathvista/images/1.jpg \
    seedbench/SEED-Bench-image/1454426_2591111986 ai2d/images/0.png \
    mme/MME_Benchmark_release_version/existence/000000006040.jpg llava_bench/images/001.jpg own/a.png
put black-circle coco/val2014/COCO_val2014_000000000002.jpg coco/train2014/COCO_train2014_000000000012.jpg \
    nocaps/images/0013ea2087020902.jpg textvqa/train_images/uval.jpg textvqa/train_images/utrain.jpg \
    vizwiz/val/VizWiz_val_00000001.jpg vizwiz/train/VizWiz_train_00000001.jpg gqa/images/gtrain.jpg \
    chartqa/train/png/ctrain.png docvqa/documents/dtrain.png scienceqa/images/test/3/image.png mathvista/images/2.jpg \
    ai2d/images/1.png mme/MME_Benchmark_release_version/code_reasoning/0001.png own/b.png
put black-cross coco/val2014/COCO_val2014_000000000004.jpg

mkdir -p mmbench mme mmmu seedbench

# Tables: the second row has the picture of the first; questions in quotes hold a tab, a line break and quotes.
bar=$(base64 -w 0 "$tiny/black-bar.png") circle=$(base64 -w 0 "$tiny/black-circle.png")
{
    printf 'index\timage\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\tl2-category\tsplit\n'
    printf '241\t%s\t"Identify the ""shape""\nof the thing:"\tnan\tbar\tcircle\t\t\tA\tidentity_reasoning\tx\tdev\n' "$bar"
    printf '242\t241\tWhich colour?\tLook at it.\tred\tblack\tgreen\tgrey\tB\tattribute\tx\tdev\n'
    printf '243\t9999\tWhose picture?\t\ta\tb\t\t\tA\tattribute\tx\tdev\n'
    printf '244\ttoo few columns\n'
    printf '1000242\t241\tWhich colour?\tLook at it.\tblack\tgreen\tgrey\tred\tA\tattribute\tx\tdev\n'
} >mmbench/MMBench_DEV_EN.tsv
{
    printf 'index\tquestion\tanswer\tA\tB\tC\tD\tcategory\tl2-category\tsplit\timage\n'
    row() { # id, split, first picture, second picture
        printf '%s_1\t<image 1> Is it like <image 2> ?\tB\tyes\tno\t\t\tArt\tx\t%s\t"['"'%s', '%s'"']"\n' "$@"
        printf '%s_2\tWhat is shown in <image 1>?\tbar\t\t\t\t\tArt\tx\t%s\t%s\n' "$1" "$2" "$3"
    }
    row validation validation "$bar" "$circle"
    row dev dev "$(base64 -w 0 "$tiny/black-cross.png")" "$(base64 -w 0 "$tiny/blue-bar.png")"
} >mmmu/MMMU_DEV_VAL.tsv
{
    printf 'index\timage\tquestion\tA\tB\tC\tD\tanswer\tcategory\n'
    printf '0\t%s\tHow many?\t1\t2\t3\t4\tA\tInstances Counting\n' "$bar"
    printf '1\t%s\tWhat?\tbar\tcircle\tcross\tsquare\tB\tInstance Identity\n' "$circle"
} >seedbench/SEEDBench_IMG.tsv
cp seedbench/SEEDBench_IMG.tsv ai2d/AI2D_TEST.tsv
{
    printf 'index\timage\tquestion\tanswer\tcategory\timage_path\n'
    printf '0\t%s\tIs there a bar? Please answer yes or no.\tYes\texistence\texistence/1.jpg\n' "$bar"
    printf '1\t%s\tIs there a dog? Please answer yes or no.\tNo\texistence\texistence/1.jpg\n' "$bar"
} >mme/MME.tsv

# Conversations in a tar, as `mm1 data build` writes them; the second has its picture behind a text.
for split in heldout train; do
    mkdir -p $split/made
    n=0
    for shape in bar circle cross; do
        n=$((n + 1))
        colour=blue
        [ $split = train ] || colour=black
        cp "$tiny/$colour-$shape.png" $split/made/k-$n.0.png
        content='{"type": "image"}, {"type": "text", "text": "What is it?"}'
        [ $n != 2 ] || content='{"type": "text", "text": "See "}, {"type": "image"}, {"type": "text", "text": ": what is it?"}'
        echo '{"messages": [{"role": "user", "content": ['"$content"']}, {"role": "assistant", "content": "'$shape'"}],' \
            '"images": ["k-'$n'.0.png"], "qa": {"kind": "naming.shape", "answer": "'$shape'"}}' >$split/made/k-$n.json
    done
    echo '{"messages": [{"role": "user", "content": [{"type": "image"}]}], "images": ["nowhere.png"]}' >$split/made/k-9.json
    tar --format=ustar -C $split/made -cf $split/messages-0000.tar \
        k-1.json k-1.0.png k-2.json k-2.0.png k-3.json k-3.0.png k-9.json
    rm -r $split/made
done

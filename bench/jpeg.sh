#!/bin/bash
# jpeg.sh - how long a JPEG takes to a 378 x 378 tensor, beside Pillow and libvips; a table, and jpeg.json.
#
#   bench/jpeg.sh [ROUNDS]     3 rounds: about a minute
#
#   MM1_BUILD      build folder (default build/release)
#   MM1_BENCH_OUT  results (default out/bench)
#   MM1_CACHE_DIR  where photographs and peers are kept (default ~/.cache/mm1)
#
# The photographs are the wallpapers of two Debian packages, 68 MB, fetched once with `apt-get download` and unpacked
# below the cache; nothing is installed, and none of it is committed.  What is compared: bench/peers/jpeg.py.
#
# Peers: Python with Pillow, and for libvips its library and pyvips:
#   python3 -m venv ~/.cache/mm1/peers && ~/.cache/mm1/peers/bin/pip install pillow pyvips
#   apt-get install libvips42
# Without Pillow nothing is measured and the script says so; without libvips its rows are left out.
set -eu
cd "$(dirname "$0")/.."
build=${MM1_BUILD:-build/release}
cache=${MM1_CACHE_DIR:-${HOME:-/tmp}/.cache/mm1}
photos=$cache/photos
out=${MM1_BENCH_OUT:-out/bench}

python=$cache/peers/bin/python
if [ ! -x "$python" ]; then
    python=python3
fi
if ! "$python" -c 'import PIL' 2>/dev/null; then
    echo "jpeg: not measured, for Pillow is not there: $python -m venv $cache/peers && $cache/peers/bin/pip install pillow pyvips"
    exit 0
fi
if ! "$python" -c 'import pyvips' 2>/dev/null; then
    echo "jpeg: without libvips: apt-get install libvips42, and $python -m pip install pyvips" >&2
fi

for package in mate-backgrounds ukui-wallpapers; do
    [ ! -e "$photos/$package" ] || continue
    part=$photos/.$package
    rm -rf "$part"
    mkdir -p "$part/unpacked"
    if ! (cd "$part" && apt-get -q -q -o APT::Sandbox::User=root download "$package" && dpkg-deb -x ./*.deb unpacked); then
        echo "jpeg: not measured, for the photographs of $package could not be fetched" >&2
        rm -rf "$part"
        exit 1
    fi
    mv "$part/unpacked" "$photos/$package"
    rm -rf "$part"
done

mkdir -p $out
if [ "$build" = build/release ]; then
    cmake --preset release >/dev/null
fi
cmake --build "$build" --target bench_jpeg >$out/jpeg-build.log 2>&1 || {
    tail -n 20 $out/jpeg-build.log >&2
    echo "jpeg: bench_jpeg does not build; the whole log is $out/jpeg-build.log" >&2
    exit 1
}
exec "$python" bench/peers/jpeg.py --mm1 "$build/bench_jpeg" --photos "$photos" --rounds "${1:-3}" --json $out/jpeg.json

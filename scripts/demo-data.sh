#!/bin/bash
# demo-data.sh - fetches the Debian packages whose pictures and texts the demo data are built from, and unpacks the parts
# that are needed.  Nothing is installed and no root is needed: packages are downloaded with `apt-get download` and
# unpacked into a folder of their own.  What is already there is not fetched again, so the script may be run at any time.
#
#   scripts/demo-data.sh [--smoke | --more]
#
#   MM1_CACHE_DIR  where to keep them (default ~/.cache/mm1): debs/*.deb (removed once unpacked, unless MM1_KEEP_DEBS=1)
#                  and root/usr/share/...; `mm1 data build` reads root.
#   --smoke        only Tux Paint's stamps, which recipes/smoke.yaml needs (230 MB instead of 1.1 GB).
#   --more         also what recipes/more-pictures.yaml needs (22 MB)
#
# Which package gives what, and under which licence: docs/data.md.
set -eu

cache=${MM1_CACHE_DIR:-${HOME:-/tmp}/.cache/mm1}
root=$cache/root
debs=$cache/debs
marks=$root/.unpacked

# Largest first, so that the last ones to arrive are quick to unpack.
large="openclipart-png stellarium-data tuxpaint-stamps-default sweethome3d-furniture opencv-doc endless-sky-data
       python-sklearn-doc gimp-help-en python-skimage-doc debian-handbook games-thumbnails"
small="qabcs-data openclipart-svg rust-doc unicode-cldr-core python3.11-doc kgeography-data fonts-noto-color-emoji fonts-dejavu-core
       sword-comm-tdavid debian-policy postgresql-doc-15 debian-reference-en r-cran-janeaustenr
       dataset-fashion-mnist"

case ${1:-} in
'') packages="$large $small" ;;
--smoke) packages=tuxpaint-stamps-default ;;
--more) packages="$large $small ruby-gemojione fonts-symbola pysiogame" ;;
*)
    echo "demo-data.sh: unknown argument '$1' (--smoke, --more)" >&2
    exit 2
    ;;
esac

mkdir -p "$debs" "$marks"
started=$(date +%s)

say() {
    echo "[$(($(date +%s) - started)) s] $*" >&2
}

# Unpacks one .deb without the parts that nobody reads (speech, 3-D models, other languages).
unpack() {
    dpkg-deb --fsys-tarfile "$1" | tar -x -C "$root" --no-same-owner \
        --exclude='*.ogg' --exclude='*.wav' --exclude='*.obj' --exclude='*.mp3' --exclude='*.ttc' \
        --exclude='./usr/share/stellarium/stars' --exclude='./usr/share/stellarium/landscapes' \
        --exclude='./usr/share/stellarium/translations' --exclude='./usr/share/doc/rust-doc/html/core' \
        --exclude='./usr/share/doc/rust-doc/html/std' --exclude='./usr/share/doc/rust-doc/html/src' \
        --exclude='./usr/share/doc/opencv-doc/opencv4/html/javadoc' 2>/dev/null || return 1
    # The languages of the handbook are hard links to each other, so that tar cannot leave them out.
    case $1 in
    */debian-handbook_*)
        find "$root/usr/share/doc/debian-handbook/html" -mindepth 1 -maxdepth 1 -type d ! -name en-US -exec rm -rf {} +
        ;;
    esac
}

# Downloads and unpacks one package; a failure is reported and leaves no mark, so that the next run tries again.
fetch() {
    package=$1
    deb=$(find "$debs" -maxdepth 1 -name "${package}_*.deb" | head -n 1)
    if [ -z "$deb" ]; then
        dir=$debs/.$package
        rm -rf "$dir"
        mkdir -p "$dir"
        if ! (cd "$dir" && apt-get -q -q -o APT::Sandbox::User=root download "$package" >log 2>&1); then
            say "$package: download failed: $(tail -n 1 "$dir/log")"
            return 1
        fi
        deb=$(find "$dir" -name '*.deb' | head -n 1)
        mv "$deb" "$debs/"
        deb=$debs/$(basename "$deb")
        rm -rf "$dir"
    fi
    if ! unpack "$deb"; then
        say "$package: could not be unpacked; removed $deb"
        rm -f "$deb"
        return 1
    fi
    basename "$deb" >"$marks/$package"
    size=$(du -m "$deb" | cut -f1)
    [ "${MM1_KEEP_DEBS:-0}" = 1 ] || rm -f "$deb"
    say "$package ($size MB)"
}

# Three packages at a time: some download while others unpack.  Which failed is seen by the marks.
running=0
for package in $packages; do
    [ -e "$marks/$package" ] && continue
    fetch "$package" &
    running=$((running + 1))
    if [ $running -ge 3 ]; then
        wait -n || true
        running=$((running - 1))
    fi
done
wait || true
missing=
for package in $packages; do
    [ -e "$marks/$package" ] || missing="$missing $package"
done
if [ -n "$missing" ]; then
    say "not available:$missing (run this again, or see docs/data.md: the builder counts what is missing and goes on)"
    exit 1
fi
say "all packages are in $root ($(du -sm "$root" | cut -f1) MB)"

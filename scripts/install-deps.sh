#!/bin/bash
# install-deps.sh - installs the Debian packages that building, testing and the demo need.
#
#   scripts/install-deps.sh          install what is missing (asks for root through sudo if need be)
#   scripts/install-deps.sh --check  exit 0 if nothing is missing, 1 otherwise; installs nothing
#   scripts/install-deps.sh --list   print the packages
set -eu

packages="build-essential cmake ninja-build pkg-config
          libturbojpeg0-dev libjpeg62-turbo-dev libpng-dev libwebp-dev zlib1g-dev libfreetype-dev libharfbuzz-dev
          libarchive-dev libzstd-dev libjansson-dev libyaml-dev libgumbo-dev
          libpcre2-dev libutf8proc-dev libxxhash-dev libmd-dev libcurl4-openssl-dev libsqlite3-dev libcmocka-dev
          zstd fonts-dejavu-core"
# What .ci/run needs on top; `make test` and `make demo` do without.
ci_packages="clang-14 clang-format-14 libclang-rt-14-dev"

case ${1:-} in
--list)
    echo $packages $ci_packages
    exit 0
    ;;
--ci) packages="$packages $ci_packages" ;;
--check | '') ;;
*)
    echo "install-deps.sh: unknown argument '$1' (--check, --ci, --list)" >&2
    exit 2
    ;;
esac

missing=
for p in $packages; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
[ "${1:-}" != --check ] || exit 1

run=
if [ "$(id -u)" != 0 ]; then
    run=$(command -v sudo) || {
        echo "install-deps.sh: these packages are missing, and there is neither root nor sudo to install them:$missing" >&2
        exit 1
    }
fi
echo "installing:$missing" >&2
$run apt-get update -qq
DEBIAN_FRONTEND=noninteractive $run apt-get install -y -qq --no-install-recommends $missing >/dev/null

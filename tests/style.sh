#!/bin/bash
# style.sh - what a compiler does not check: format, white space, length, names of files, banned calls, floors.
set -u
cd "$(dirname "$0")/.."
failed=0
bad() {
    echo "style: $*" >&2
    failed=1
}

mapfile -t code < <(git ls-files 'src/*.[ch]' 'include/*.h' 'tests/*.[ch]' 'bench/*.[ch]')

# Format, by the clang-format of Debian 12.
if command -v clang-format-14 >/dev/null; then
    clang-format-14 --dry-run -Werror "${code[@]}" 2>/tmp/mm1-format.$$ || bad "$(grep -c error /tmp/mm1-format.$$) places differ from .clang-format: $(grep -oE '^[^:]+' /tmp/mm1-format.$$ | sort -u | grep -E '\.[ch]$' | head -n 5 | tr '\n' ' ')(run clang-format-14 -i)"
    rm -f /tmp/mm1-format.$$
fi

# White space and ends of files.
mapfile -t text < <(git ls-files '*.[ch]' '*.sh' '*.md' '*.yaml' '*.txt' 'Makefile' '.ci/run' | grep -v '^tests/data/')
refuse() { # what, pattern, files...
    local what=$1 pattern=$2 lines
    shift 2
    lines=$(grep -nP -- "$pattern" "$@" /dev/null | head -n 3)
    [ -z "$lines" ] || bad "$what: $lines"
}
refuse "trailing blanks" '[[:blank:]]+$' "${text[@]}"
refuse "tabs" '\t' "${code[@]}"
for f in "${text[@]}"; do
    [ -z "$(tail -c 1 "$f")" ] || bad "$f: no newline at its end"
done

# One noun a file: under 1000 lines, names that are unique below src.
for f in $(git ls-files 'src/*.[ch]' 'include/*.h'); do
    n=$(wc -l <"$f")
    [ "$n" -le 1000 ] || bad "$f: $n lines; cut it by noun"
done
twice=$(git ls-files 'src/*.c' | xargs -n 1 basename | sort | uniq -d)
[ -z "$twice" ] || bad "two files of the same name: $twice"

# The library never ends the process, prints, or uses what cannot be used safely.
lib=$(git ls-files 'src/*.c' 'src/*.h' | grep -v '^src/cli/')
for word in exit abort printf puts perror assert; do
    lines=$(grep -nE "(^|[^_a-zA-Z>.\"])$word\(" $lib | grep -vE '^[^:]+:[0-9]+: *(\*|/\*|//)' | head -n 3)
    [ -z "$lines" ] || bad "$word() in the library: $lines"
done
for word in strcpy strcat sprintf vsprintf atoi atof gets strtok rand system alloca; do
    lines=$(grep -nE "(^|[^_a-zA-Z>.\"])$word\(" $(git ls-files 'src/*.c') | grep -vE '^[^:]+:[0-9]+: *(\*|/\*|//)' | head -n 3)
    [ -z "$lines" ] || bad "$word() in src: $lines"
done
refuse "unfinished by its own words" '(//|/\*|^ *\*) *(TODO|FIXME|XXX)\b' "${code[@]}"

# A file includes only from its own floor and lower ones.
floors="base kernels tensor image text nn model data train generate eval study serve cli"
level=0
declare -A height
for floor in $floors; do
    height[$floor]=$level
    level=$((level + 1))
done
while IFS=: read -r file include; do
    from=${file#src/}
    from=${from%%/*}
    to=$(sed -E 's/.*"([a-z]+)\/.*/\1/' <<<"$include")
    [ -n "${height[$to]:-}" ] || continue
    [ "${height[$to]}" -le "${height[$from]}" ] || bad "$file includes from a higher floor: $include"
done < <(grep -HE '^#include "[a-z]+/' $(git ls-files 'src/*.[ch]'))

[ $failed = 0 ] && echo "style: ${#code[@]} files, fine"
exit $failed

#!/bin/sh
# golden_recipes.sh - writes docs/recipe.md and tests/data/recipes/*.resolved.yaml, which tests/cli/test_recipe.sh compares
# with what the program prints.  Run it after a change of recipes or of their keys, and read the diff.
#
#   tools/golden_recipes.sh [MM1]       MM1: the program (default build/release/mm1)
set -eu
cd "$(dirname "$0")/.."
mm1=${1:-build/release/mm1}
out=tests/data/recipes

mkdir -p "$out" docs
rm -f "$out"/*.resolved.yaml
"$mm1" recipe reference >docs/recipe.md
find recipes -name '*.yaml' | sort | while read -r recipe; do
    name=$(echo "${recipe#recipes/}" | sed 's/\.yaml$//; s,/,-,g')
    "$mm1" recipe resolve "$recipe" >"$out/$name.resolved.yaml"
done

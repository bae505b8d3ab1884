#!/bin/sh
# Recipes: the reference page and the resolved form of every shipped recipe are what is committed.
# After a change: tools/golden_recipes.sh build/release/mm1
. "$(dirname "$0")/lib.sh"

expect 0 recipe reference
cmp -s out "$root/docs/recipe.md" || fail "docs/recipe.md is old; run tools/golden_recipes.sh"
says out train.n_steps model.decoder.width 'data.sources.*.path' build.out

cd "$root"
find recipes -name '*.yaml' | sort >"$tmp/recipes"
while read -r recipe; do
    golden=tests/data/recipes/$(echo "${recipe#recipes/}" | sed 's/\.yaml$//; s,/,-,g').resolved.yaml
    [ -f "$golden" ] || fail "$golden is not there; run tools/golden_recipes.sh"
    "$mm1" recipe resolve "$recipe" >"$tmp/out" 2>"$tmp/err" || fail "$recipe does not resolve: $(cat "$tmp/err")"
    diff "$golden" "$tmp/out" >"$tmp/diff" || {
        cat "$tmp/diff" >&2
        fail "$recipe resolves to something else than $golden; if that is meant, run tools/golden_recipes.sh"
    }
    # A resolved recipe is a recipe, the same one.
    "$mm1" recipe resolve "$tmp/out" | cmp -s - "$tmp/out" || fail "$recipe: resolving twice changes it"
done <"$tmp/recipes"
[ -s "$tmp/recipes" ] || fail "no recipes"
# What is committed has a recipe.
for golden in tests/data/recipes/*.resolved.yaml; do
    name=$(basename "$golden" .resolved.yaml)
    sed 's,^recipes/,,; s/\.yaml$//; s,/,-,g' "$tmp/recipes" | grep -qx -- "$name" || fail "$golden has no recipe"
done
cd "$tmp"

expect 0 recipe get "$root/recipes/smoke.yaml" train.n_steps
[ "$(cat out)" = 20 ] || fail "train.n_steps is $(cat out)"
expect 0 recipe get "$root/recipes/smoke.yaml" train.n_steps --set train.n_steps=7
[ "$(cat out)" = 7 ] || fail "--set train.n_steps=7 gives $(cat out)"
expect 0 recipe get "$root/recipes/smoke.yaml" data.sources.captions.kind
[ "$(cat out)" = captions ] || fail "the kind of captions is $(cat out)"
expect 0 recipe resolve "$root/recipes/smoke.yaml" --set train.lr_peak=law
says out "lr_peak: law"

#!/usr/bin/env bash
# helm lint and helm template with every value set of turbo-pi/ci, compared with the renderings that are kept for the tests of every
# day: check.sh [--update]. helm is $HELM, or is built from the Go module in test/kubernetes (minutes).
set -euo pipefail
cd "$(dirname "$0")"
kept=../../test/deploy/helm/rendered
helm=${HELM:-}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

if [ -z "$helm" ]; then
  helm=$scratch/helm
  go build -C ../../test/kubernetes -o "$helm" helm.sh/helm/v4/cmd/helm
fi
"$helm" version

failed=0
for values in turbo-pi/ci/*.yaml; do
  name=$(basename "$values" .yaml)
  "$helm" lint --strict --quiet --values "$values" turbo-pi || failed=1
  {
    # What it was made of: the test of every day sees when the chart has changed since.
    echo "# $(find turbo-pi -type f ! -name README.md ! -path 'turbo-pi/ci/*' | LC_ALL=C sort | cat - <(echo "$values") | xargs cat | sha256sum | cut -d' ' -f1)"
    "$helm" template turbo-pi turbo-pi --namespace robots --kube-version 1.36 --values "$values"
  } >"$scratch/$name.yaml" || { failed=1; continue; }
  if [ "${1:-}" = --update ]; then
    mkdir -p "$kept"
    cp "$scratch/$name.yaml" "$kept/"
  fi
  if diff -u "$kept/$name.yaml" "$scratch/$name.yaml"; then echo "$name: linted, rendered as kept"; else failed=1; fi
done
exit $failed

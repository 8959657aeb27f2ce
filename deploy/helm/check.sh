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

# What must not be rendered, and what helm has to say of it.
refused() {
  local words=$1 said
  shift
  if said=$("$helm" template turbo-pi turbo-pi "$@" 2>&1); then echo "rendered, and should not be: $*"; failed=1
  elif grep -qF -- "$words" <<<"$said"; then echo "refused: ${*:-(no values)}"
  else echo "refused without \"$words\": $said"; failed=1; fi
}
anonymous=(--set settings.allow-anonymous=true)
refused 'give keys.existingSecret or keys.list, or settings.allow-anonymous=true'
refused "max-bach" "${anonymous[@]}" --set settings.max-bach=8
refused "settings/max-batch" "${anonymous[@]}" --set settings.max-batch=0
refused 'settings.grpc-port: 0 takes a free port' "${anonymous[@]}" --set settings.grpc-port=0
refused "repicas" "${anonymous[@]}" --set repicas=2
refused 'extraEnv/0/name' "${anonymous[@]}" --set 'extraEnv[0].name=TURBO_PI_PORT'
refused 'exclude each other' --set keys.existingSecret=a --set 'keys.list[0].name=b,keys.list[0].key=c'
refused 'set monitor.enabled=true' "${anonymous[@]}" --set autoscaling.enabled=true
refused 'needs autoscaling.queueWaitSeconds or autoscaling.utilisation' "${anonymous[@]}" --set monitor.enabled=true,autoscaling.enabled=true,autoscaling.queueWaitSeconds=0,autoscaling.utilisation=0
refused 'minReplicas is above' "${anonymous[@]}" --set monitor.enabled=true,autoscaling.enabled=true,autoscaling.minReplicas=5
refused 'httpRoute.parentRefs' "${anonymous[@]}" --set httpRoute.enabled=true
refused 'ingress.host' "${anonymous[@]}" --set ingress.enabled=true,ingress.tlsSecret=a
exit $failed

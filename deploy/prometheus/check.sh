#!/usr/bin/env bash
# Checks the rules, their tests, and the numbers of a running server where one is named: check.sh [http://localhost:8000].
# promtool is the one on the path, or of Debian's package prometheus, unpacked for the time of the check.
set -euo pipefail
cd "$(dirname "$0")"

promtool=$(command -v promtool || true)
if [ -z "$promtool" ]; then
  unpacked=$(mktemp -d)
  trap 'rm -rf "$unpacked"' EXIT
  (cd "$unpacked" && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } >&2)
  dpkg -x "$unpacked"/prometheus_*.deb "$unpacked"
  promtool=$unpacked/usr/bin/promtool
fi

"$promtool" --version 2>&1 | head -n 1
"$promtool" check config --syntax-only prometheus.yml
"$promtool" check rules alerts.yml
"$promtool" test rules alerts.test.yml
if [ $# -gt 0 ]; then curl -fsS "$1/metrics" | "$promtool" check metrics; fi

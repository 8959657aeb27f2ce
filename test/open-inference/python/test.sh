#!/usr/bin/env bash
# Triton's own Python clients, over HTTP and gRPC, against a served policy, in a venv of its own with the versions of constraints.txt
# (npm ci first).
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt 'tritonclient[http,grpc]' pillow
cd ../../..
TURBO_PI_CACHE="$work/cache" "$work/venv/bin/python" test/open-inference/python/test_tritonclient.py

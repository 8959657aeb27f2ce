#!/usr/bin/env bash
# Reads a recording with Python's mcap, and the dataset that is made of it with pyarrow, in a venv of its own with the versions of
# constraints.txt (npm ci first).
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt mcap mcap-protobuf-support pyarrow pandas pillow
cd ../../..
node --import=tsx test/recording/python/record.ts "$work/recordings"
node --import=tsx src/cli.ts export-dataset "$work"/recordings/*.mcap --to "$work/dataset"
RECORDINGS="$work/recordings" DATASET="$work/dataset" "$work/venv/bin/python" test/recording/python/test_recording.py

#!/usr/bin/env bash
# Loads an exported dataset with LeRobot itself: Python 3.11 (PYTHON=…), 8.4 GB of packages in a venv that goes afterwards, or in
# LEROBOT_VENV, which stays.
set -euo pipefail
cd "$(dirname "$0")"
python=${PYTHON:-python3.11}
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo 'LeRobot 0.4.4 takes Python 3.11: name it with PYTHON'; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${LEROBOT_VENV:-$work/venv}

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/pip" install --quiet --no-compile --disable-pip-version-check lerobot==0.4.4
cd ../../..
node --import=tsx test/recording/python/record.ts "$work/recordings"
node --import=tsx src/cli.ts export-dataset "$work"/recordings/*.mcap --to "$work/dataset"
HF_HUB_OFFLINE=1 DATASET="$work/dataset" "$venv/bin/python" test/recording/python/load_lerobot.py

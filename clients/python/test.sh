#!/usr/bin/env bash
# The tests of the Python client, in a venv of its own with the versions of constraints.txt. They serve policies/tabletop from
# this checkout (npm ci first). With arguments: those tests alone, for example `tests.test_scenarios`.
set -euo pipefail
cd "$(dirname "$0")"
venv=$(mktemp -d)
trap 'rm -rf "$venv"' EXIT

python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt '.[jpeg]' mypy
"$venv/bin/mypy"
if [ $# -gt 0 ]; then "$venv/bin/python" -m unittest "$@"; else "$venv/bin/python" -m unittest discover --top-level-directory . --start-directory tests; fi

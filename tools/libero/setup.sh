#!/usr/bin/env bash
# Makes the venv of the LIBERO tools: bash tools/libero/setup.sh [training] [openpi]
# Python 3.12 (PYTHON=…) on Linux x86-64; 2.1 GB, and 4.4 GB more with PyTorch (`training`). It lies in tools/libero/.venv, or where
# LIBERO_VENV says. Rendering needs EGL or OSMesa of the system: on Debian `apt-get install libegl1 libosmesa6 libglx-mesa0 libglib2.0-0`.
set -euo pipefail
cd "$(dirname "$0")"
python=${PYTHON:-python3.12}
venv=${LIBERO_VENV:-.venv}
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' || { echo 'the pinned versions are for Python 3.12: name it with PYTHON'; exit 1; }
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
files=(--requirement requirements.txt)
for part in "$@"; do files+=(--requirement "requirements-$part.txt"); done
"$venv/bin/pip" install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt "${files[@]}"
echo "$venv is ready"

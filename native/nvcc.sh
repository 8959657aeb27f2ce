#!/usr/bin/env bash
# Prints the path of an nvcc that compiles the kernels: $NVCC, the one on the path, or that of PyPI's packages, installed into
# the given directory (378 MB). Pinned: the driver for CUDA 13.0 takes no PTX of a newer compiler.
set -euo pipefail
if command -v "${NVCC:-nvcc}"; then exit; fi
python3 -m venv "$1"
"$1/bin/pip" install --quiet --disable-pip-version-check \
  nvidia-cuda-nvcc==13.0.88 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88
find "$1" -path '*/bin/nvcc' -type f

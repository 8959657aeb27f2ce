#!/bin/sh
# Prints the directory of the TensorRT headers below the given roots; fails, naming the file, when one is missing.
set -eu
[ $# -gt 0 ] || set -- /usr/include /usr/local /opt

found=$(find -L "$@" -name NvInfer.h 2>/dev/null | head -n 1)
if [ -z "$found" ]; then
  echo "NvInfer.h is not below $*: the base image lacks the TensorRT headers (Debian package libnvinfer-headers-dev)." >&2
  exit 1
fi
directory=$(dirname "$found")
if [ ! -f "$directory/NvOnnxParser.h" ]; then
  echo "NvOnnxParser.h is not in $directory: the base image lacks the parser's headers (Debian package libnvonnxparsers-dev)." >&2
  exit 1
fi
echo "$directory"

#!/usr/bin/env bash
# Draws, trains, exports and looks, on one machine with a GPU and without a network; the bounds below are set for 16 cores and an H100.
#   bash tools/libero/train-on-gpu.sh DEMOS OUT [SECOND_DEMOS…]
# DEMOS: what record.py wrote; OUT takes model.pt, policy/, looked.json and the logs. Pictures, 0.3 MB each, go to $PICTURES
# (/dev/shm/libero). The environment: PYTHON (one with PyTorch and the simulator), MINUTES of training (7), EVERY (1: all
# frames), PROCESSES (the cores), LOOK (10 episodes of each task), DEVICE (cuda).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
demos=$1 out=$2
shift 2
python=${PYTHON:-python3} device=${DEVICE:-cuda} processes=${PROCESSES:-$(nproc)} pictures=${PICTURES:-/dev/shm/libero}
export PYTHONPATH=$here/../training${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1
mkdir -p "$out" "$pictures"
stage() { echo "== $1 at $SECONDS s"; }

stage tokenizer
[ -f "$out/tokenizer.model" ] || "$python" "$here/tokenizer.py" "$out/tokenizer.model" >"$out/tokenizer.log" 2>&1
stage draw
"$python" "$here/draw.py" --demos "$demos" "$@" --out "$pictures" --every "${EVERY:-1}" --processes "$processes" 2>"$out/draw.log" | tail -n 1
stage train
speed=()
[ "$device" = cpu ] || speed=(--compile --bf16)
"$python" "$here/train.py" --drawn "$pictures" --tokenizer "$out/tokenizer.model" --out "$out" --steps 1000000 \
  --minutes "${MINUTES:-7}" --batch "${BATCH:-256}" --noise-samples 8 --device "$device" "${speed[@]}" 2>"$out/train.err" | tee "$out/train.log"
stage export
"$python" "$here/export.py" --model "$out/model.pt" --tokenizer "$out/tokenizer.model" --out "$out/policy"
stage look
"$python" "$here/evaluate.py" --model "$out/model.pt" --tokenizer "$out/tokenizer.model" --episodes "${LOOK:-10}" \
  --processes "$processes" --device "$device" --minutes "${LOOK_MINUTES:-3}" --out "$out/looked.json" 2>"$out/look.log" | tee "$out/look.txt" | tail -n 12
stage end

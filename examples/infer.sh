#!/bin/sh
# Posts an observation with two JPEG files to a Turbo-Pi server.
set -eu
cd "$(dirname "$0")"
server=${1:-http://127.0.0.1:8000}

curl --silent --show-error --fail-with-body "$server/infer" \
  --header 'content-type: application/json' --header "authorization: Api-Key ${TURBO_PI_API_KEY:-none}" --data-binary @- <<JSON
{
  "observation/image": "$(base64 <image.jpg | tr -d '\n')",
  "observation/wrist_image": "$(base64 <wrist_image.jpg | tr -d '\n')",
  "observation/state": $(cat state.json),
  "prompt": "$(cat prompt.txt)",
  "options": { "num_steps": 10, "seed": 7 }
}
JSON

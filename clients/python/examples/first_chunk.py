"""Asks the policy that `npx turbo-pi serve` bundles for one chunk: python first_chunk.py [address]"""

import sys

import numpy as np

from turbo_pi_client import ObserveOptions, TurboPiClient

image = np.zeros((224, 224, 3), dtype=np.uint8)
with TurboPiClient.connect(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8000", robot="arm-1") as client:
    chunk = client.infer(
        {
            "observation/image": image,
            "observation/wrist_image": image,
            "observation/state": np.zeros(8, dtype=np.float32),
            "prompt": "pick up the red block",
        },
        ObserveOptions(deadline_ms=5000),
    )
    print(f"{len(chunk.actions)} actions of {chunk.actions.shape[1]} numbers, {chunk.observation_age_ms:.0f} ms old")

"""
Whether a served policy answers as the trained network does: python agree.py --model FILE --tokenizer FILE --drawn DIR --url URL

Drawn frames and noise go both ways: through PyTorch with the weights as they are exported, and through the server, with its resizing,
prompt, tokenizer, statistics and denoising. Prints the largest difference of an action, in LIBERO's units. Needs clients/python/src in
PYTHONPATH beside tools/training.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

import frames
from draw import tables
from learner import Learner
from turbo_pi_client import ObserveOptions, TurboPiClient

FRAMES = 20


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--drawn", required=True, type=Path)
    parser.add_argument("--url", required=True)
    parser.add_argument("--steps", type=int, default=10, help="denoise steps")
    arguments = parser.parse_args()
    learner = Learner(arguments.model, arguments.tokenizer, "cpu", arguments.steps)
    with torch.no_grad():
        for weight in learner.network.parameters():
            weight.copy_(weight.bfloat16())
    about = json.loads((arguments.drawn / "drawn.json").read_text())
    table = frames.read([Path(path) for path in about["demos"]], about["every"])
    pictures, _ = tables(arguments.drawn, len(table.picture_step), "r")
    random = np.random.default_rng(0)
    c, largest = learner.network.config, 0.0
    with TurboPiClient.connect(arguments.url) as client:
        for index in random.choice(len(table), FRAMES):
            shown, state, task = pictures[table.picture[index]], table.state[index].astype(float), int(table.prompt_task[index])
            noise = random.normal(size=(c.horizon, c.action_dim)).astype(np.float32)
            ours = learner.act(shown[None], state[None], [task], [np.zeros((0, 7))], torch.from_numpy(noise)[None])[0]
            seen = {
                "observation/image": shown[0],
                "observation/wrist_image": shown[1],
                "observation/state": state,
                "prompt": learner.tasks[task],
            }
            served = client.infer(seen, ObserveOptions(num_steps=arguments.steps, noise=noise)).actions
            largest = max(largest, float(np.abs(ours - served).max()))
    print(f"{FRAMES} frames: actions differ by at most {largest:.2e}")


if __name__ == "__main__":
    main()

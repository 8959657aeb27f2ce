"""Closed loop in PyTorch: python evaluate.py --model OUT/model.pt --tokenizer FILE --bridge "npx tsx bridge.ts" …

Plans for all episodes at once, 5 of 10 actions carried out. The figures that count are those of `turbo-pi eval`, which
runs the exported policy; these are for use during training.
"""

import argparse
import subprocess

import numpy as np
import torch

from pi05.network import Config, Pi05
from pi05.prompts import Prompts, unnormalise

BLOCKS = ["red", "green", "blue", "yellow", "purple"]
PLACES = [("red", "white"), ("green", "black"), ("blue", "cyan"), ("yellow", "black"), ("purple", "white")]
# The ten tasks of src/tabletop/tasks.ts, in the same order.
SUITE = [f"pick up the {block} block" for block in BLOCKS] + [
    f"pick up the {block} block and place it on the {plate} plate" for block, plate in PLACES
]
OBSERVATION = np.dtype([("head", "<f8", 3), ("state", "<f8", 8), ("images", "u1", (2, 56, 56, 3))])
EXECUTE, LONGEST = 5, 80


@torch.no_grad()
def evaluate(network: Pi05, prompts: Prompts, stats: dict, bridge: list[str], episodes: int, seed: int, steps: int):
    """Steps taken and success of every episode."""
    device = next(network.parameters()).device
    arguments = ["--episodes", str(episodes), "--seed", str(seed), "--execute", str(EXECUTE)]
    generator = torch.Generator(device).manual_seed(seed)
    with subprocess.Popen([*bridge, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as simulator:
        for plan in range(LONGEST // EXECUTE + 1):
            data = simulator.stdout.read(OBSERVATION.itemsize * episodes)
            seen = np.frombuffer(data, OBSERVATION)
            if plan == LONGEST // EXECUTE or seen["head"][:, 1].all():
                break
            names = [SUITE[index % len(SUITE)] for index in range(episodes)]
            tokens = torch.from_numpy(prompts.encode(names, seen["state"])).long().to(device)
            images = torch.from_numpy(seen["images"].copy()).to(device)
            c = network.config
            noise = torch.randn(episodes, c.horizon, c.action_dim, generator=generator, device=device)
            actions = network.infer(images, tokens, tokens != 0, noise, steps).double().cpu().numpy()
            actions = unnormalise(actions[:, :EXECUTE, :7], stats["actions"])
            simulator.stdin.write(np.ascontiguousarray(actions, "<f8").tobytes())
            simulator.stdin.flush()
        simulator.stdin.close()
    return seen["head"][:, 0], seen["head"][:, 2] > 0


def load(path: str, tokenizer: str, device: str = "cpu") -> tuple[Pi05, Prompts, dict]:
    saved = torch.load(path, map_location=device, weights_only=True)
    network = Pi05(Config(**saved["config"])).to(device)
    network.load_state_dict(saved["weights"])
    return network, Prompts(tokenizer, saved["stats"]["state"]), saved["stats"]


def report(taken: np.ndarray, success: np.ndarray) -> str:
    lines = []
    for index, task in enumerate(SUITE):
        mine = slice(index, None, len(SUITE))
        lines.append(f"{success[mine].sum():4d}/{len(success[mine])}  {np.median(taken[mine]):4.0f} steps  {task}")
    return "\n".join([*lines, f"{success.sum():4d}/{len(success)}  {100 * success.mean():.1f} %"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--bridge", required=True, help="the command that runs bridge.ts")
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1_000_000)
    parser.add_argument("--steps", default="10", help="denoise steps, several with commas")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    network, prompts, stats = load(arguments.model, arguments.tokenizer, arguments.device)
    for steps in map(int, arguments.steps.split(",")):
        result = evaluate(
            network, prompts, stats, arguments.bridge.split(), arguments.episodes, arguments.seed, steps
        )
        print(f"{steps} denoise steps\n{report(*result)}", flush=True)


if __name__ == "__main__":
    main()

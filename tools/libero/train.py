"""
Trains a small Pi0.5 on drawn demonstrations: python train.py --drawn DIR --tokenizer FILE --out DIR [--minutes N] …

Behaviour cloning by flow matching. On a GPU all pictures lie in its memory: 0.3 MB each.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import frames
from draw import tables
from episodes import GIVEN
from export import ASSET
from frames import Frames
from pi05.checkpoint import read_stats, read_weights
from pi05.network import Config, Pi05
from pi05.prompts import Prompts, describe
from pi05.training import add_arguments, fit, flow_arguments, flow_error, prepare
from simulator import prompts as task_prompts

SIZES = {
    "image_size": 224,
    "patch": 16,
    "vision_width": 256,
    "vision_depth": 5,
    "vision_heads": 4,
    "vision_mlp": 768,
    "prefix_width": 256,
    "prefix_mlp": 768,
    "expert_width": 192,
    "expert_mlp": 512,
    "depth": 5,
    "heads": 4,
    "head_dim": 64,
}
PROMPT_TOKENS = 64
ACTION_SIZE = 7
PADDING_WEIGHT = 0.05
"""Of the action dimensions beyond the seventh, which are only there for the shape."""
FRESH = 0.5
"""Share of the samples that are given no row of the chunk before, as without a delay."""
GRAIN, LIGHT, TINT = 4, 0.1, 0.05
"""Levels of noise, and shares by which light and single colours vary: what one renderer draws differently from another."""


class Trainee(nn.Module):
    """The network with the auxiliary heads, which are dropped after training."""

    def __init__(self, network: Pi05):
        super().__init__()
        self.network = network
        width = network.config.prefix_width
        self.offsets = nn.Linear(width, 6)
        self.cover = nn.Linear(width, 2)
        weight = torch.full((network.config.action_dim,), PADDING_WEIGHT)
        weight[:ACTION_SIZE] = 1
        self.register_buffer("dimension_weight", weight / weight.sum(), persistent=False)

    def forward(self, images, tokens, actions, carried_out, given, offsets, cover, noise, times) -> tuple[Tensor, Tensor]:
        """Losses of B observations: flow matching, and the sum of the auxiliary ones.

        images u8 [B, 2, 224, 224, 3]; tokens [B, L]; actions and carried_out [B, 10, 32] normalised;
        given [B, M, 10]; offsets [B, 6] in metres, bowl and
        plate from the hand; cover [B, image tokens, 2] in 0…1, how much of a token bowl and plate are; noise [B, M, 10,
        32]; times [B, M].
        """
        seen = self.network.see(images)
        cache, mask, features = self.network.read(seen, tokens, tokens != 0)
        error = flow_error(self.network, actions, noise, times, cache, mask, carried_out, given)
        flow = (error * self.dimension_weight).sum() / (~given).sum()
        last = features[torch.arange(len(features), device=features.device), mask.sum(1) - 1]
        offset_loss = (self.offsets(last).float() - 4 * offsets).square().mean()
        logits = self.cover(features[:, : seen.shape[1]]).float()
        cover_loss = F.binary_cross_entropy_with_logits(logits, cover, weight=1 + 4 * cover)
        return flow, offset_loss + cover_loss


class Batches:
    """Draws frames and makes them what Trainee takes."""

    def __init__(self, table: Frames, drawn: Path, prompts: Prompts, stats: dict, c: Config, arguments: argparse.Namespace):
        self.samples, self.noise_samples, device = arguments.batch, arguments.noise_samples, arguments.device
        self.device, self.config = device, c
        pictures, seen = tables(drawn, len(table.picture_step), "r")
        self.pictures = on_device(pictures, device)
        self.seen = torch.from_numpy(np.array(seen)).to(device)
        names = task_prompts()
        encoded = prompts.encode([names[task] for task in table.prompt_task], table.state)
        self.tokens = torch.from_numpy(encoded).to(device)
        q01, q99 = (torch.tensor(stats["actions"][key]) for key in ("q01", "q99"))
        self.actions, self.carried_out = (
            F.pad(2 * (torch.from_numpy(chunk).float() - q01) / (q99 - q01 + 1e-6) - 1, (0, c.action_dim - ACTION_SIZE)).to(device)
            for chunk in (table.actions, table.carried_out)
        )
        self.most, self.given = arguments.given, torch.from_numpy(table.given).to(device)
        self.usable = torch.nonzero(self.given <= self.most)[:, 0]
        self.picture, self.bowl = (torch.from_numpy(column).to(device) for column in (table.picture, table.bowl))
        self.offsets = torch.from_numpy(table.offsets).float().to(device)
        side = c.image_size // c.patch
        centre = (torch.arange(side, device=device) + 0.5) / side
        self.centres = torch.stack(torch.meshgrid(centre, centre, indexing="xy"), -1).flatten(0, 1)

    def draw(self) -> list[Tensor]:
        index = self.usable[torch.randint(len(self.usable), (self.samples,), device=self.device)]
        picture = self.picture[index]
        actions = self.actions[index]
        noise, times = flow_arguments(actions, self.noise_samples)
        images = varied(self.pictures[picture])
        tokens = self.tokens[index].long()
        given = self.rows_given(self.given[index])
        cover = self.cover(picture, self.bowl[index])
        return [images, tokens, actions, self.carried_out[index], given, self.offsets[index], cover, noise, times]

    def rows_given(self, least: Tensor) -> Tensor:
        """Whether a row is given, [B, M, 10]: none in a share of the samples, else any number up to `most`, but `least` [B]."""
        shape, device = (len(least), self.noise_samples, 1), self.device
        count = torch.randint(min(1, self.most), self.most + 1, shape, device=device)
        count = count * (torch.rand(shape, device=device) > FRESH)
        return torch.arange(self.config.horizon, device=device) < torch.maximum(count, least[:, None, None])

    def cover(self, picture: Tensor, bowl: Tensor) -> Tensor:
        """How much of each image token the meant bowl and the plate are, [B, tokens, 2], as if they were discs."""
        seen = self.seen[picture]
        rows = torch.arange(len(seen), device=self.device)
        meant = torch.stack((seen[rows, :, bowl], seen[:, :, 2]), -2)
        distance = torch.linalg.vector_norm(self.centres[:, None] - meant[:, :, None, :, :2], dim=-1)
        radius = meant[:, :, None, :, 2]
        inside = ((radius - distance) * self.config.image_size / self.config.patch + 0.5).clamp(0, 1)
        return (inside * (radius > 0)).flatten(1, 2)


def on_device(pictures: np.ndarray, device: str) -> Tensor:
    """In pieces: a table of 30 GB need not lie in the host's memory as well."""
    if device == "cpu":
        return torch.from_numpy(pictures)
    result = torch.empty(pictures.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(pictures), 2048):
        result[start : start + 2048] = torch.from_numpy(np.array(pictures[start : start + 2048])).to(device)
    return result


def varied(images: Tensor) -> Tensor:
    """Grain, light and tint, a draw a picture."""
    shape, device = images.shape[:2], images.device
    light = 1 + LIGHT * (2 * torch.rand(*shape, 1, 1, 1, device=device) - 1)
    tint = 1 + TINT * (2 * torch.rand(*shape, 1, 1, 3, device=device) - 1)
    grain = torch.randint(-GRAIN, GRAIN + 1, images.shape, dtype=torch.int8, device=device)
    return (images * (light * tint) + grain).round().clamp(0, 255).to(torch.uint8)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--drawn", required=True, type=Path)
    parser.add_argument("--demos", nargs="+", type=Path, help="where the episodes lie now; default: where they were drawn from")
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--given", type=int, default=GIVEN, help="most rows that it is given of the chunk before; 0: none")
    parser.add_argument("--policy", type=Path, help="goes on from the weights and statistics of a policy of export.py")
    add_arguments(parser)
    arguments = parser.parse_args()
    prepare(arguments)

    about = json.loads((arguments.drawn / "drawn.json").read_text())
    table = frames.read(arguments.demos or [Path(path) for path in about["demos"]], about["every"])
    if len(table.picture_step) != about["pictures"]:
        raise SystemExit(f"{about['pictures']} pictures were drawn, the episodes have {len(table.picture_step)}: draw them anew")
    own = table.given == 0
    stats = {name: quantiles(values[own]) for name, values in (("state", table.state), ("actions", table.actions[:, 0]))}
    if arguments.policy:
        stats = read_stats(arguments.policy, ASSET)
    prompts = Prompts(arguments.tokenizer, stats["state"], PROMPT_TOKENS)
    config = Config(vocabulary=len(prompts), **SIZES)
    network = Pi05(config)
    if arguments.policy:
        network.load_state_dict(read_weights(arguments.policy, network.state_dict()))
    trainee = Trainee(network).to(arguments.device)
    print(f"{len(table)} frames of {len(table.picture_step)} pictures from {len(table.paths)} episodes", flush=True)
    batches = Batches(table, arguments.drawn, prompts, stats, config, arguments)
    fit(trainee, network, batches, {"stats": stats, "trained_delay": arguments.given}, arguments)


def quantiles(values: np.ndarray) -> dict:
    values = np.asarray(values, np.float64)
    return describe(values, *np.quantile(values, [0.01, 0.99], axis=0))


if __name__ == "__main__":
    main()

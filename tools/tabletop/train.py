"""Behaviour cloning of the tabletop expert: python train.py --data DIR --out DIR --tokenizer FILE [--steps N] [--minutes N] …

Ends after --steps, or after --minutes of training (the learning rate follows whichever is nearer to its end).
"""

import argparse
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data import Records
from pi05.network import Config, Pi05
from pi05.prompts import Prompts
from pi05.training import add_arguments, fit, flow_arguments, flow_error, prepare

NOISE_LEVELS = 6
# Action dimensions that move; the rotations are constant and the rest is padding.
DIMENSION_WEIGHT = [1.0, 1.0, 1.0, 0.05, 0.05, 0.05, 1.0] + [0.05] * 25


class Trainee(nn.Module):
    """The network with the auxiliary heads, which are dropped after training."""

    def __init__(self, network: Pi05, noise_samples: int):
        super().__init__()
        self.network = network
        self.noise_samples = noise_samples
        width = network.config.prefix_width
        self.offsets = nn.Linear(width, 4)
        self.cover = nn.Linear(width, 2)
        self.similarity = nn.Linear(width, 2 * width, bias=False)
        self.register_buffer("dimension_weight", torch.tensor(DIMENSION_WEIGHT), persistent=False)

    def forward(self, images, tokens, colours, actions, offsets, cover, noise, times) -> tuple[Tensor, Tensor]:
        """Losses of B observations × K prompts: flow matching, and the sum of the auxiliary ones.

        images u8 [B, 2, 56, 56, 3]; tokens [B·K, L]; colours [B·K, 2] ids (−1: no plate); actions [B·K, 10, 32]
        normalised; offsets [B·K, 4]; cover [B·K, 2 things, image tokens] in 0…1; noise [B·K, M, 10, 32]; times [B·K, M].
        """
        network = self.network
        prompts = len(tokens) // len(images)
        seen = network.see(images).repeat_interleave(prompts, 0)
        valid = tokens != 0
        cache, mask, features = network.read(seen, tokens, valid)

        error = flow_error(network, actions, noise, times, cache, mask)
        flow = (error * self.dimension_weight).mean((0, 1, 2)).sum() / self.dimension_weight.sum()

        named = (colours >= 0).float()
        last = features[torch.arange(len(features), device=features.device), mask.sum(1) - 1]
        axes = named.repeat_interleave(2, 1)
        offset_loss = ((self.offsets(last) - 4 * offsets).square() * axes).mean()
        from_features = self.cover(features[:, : seen.shape[1]]).transpose(1, 2)
        words = network.embedding(colours.clamp(min=0)) * math.sqrt(network.config.prefix_width)
        keys = self.similarity(seen).unflatten(-1, (2, -1))
        from_words = torch.einsum("bptw,btw->btp", keys, words) / math.sqrt(words.shape[-1])
        cover_loss = sum(cover_error(logits, cover, named) for logits in (from_features, from_words))
        return flow, offset_loss + cover_loss


def cover_error(logits: Tensor, cover: Tensor, named: Tensor) -> Tensor:
    weight = (1 + 4 * cover) * named[..., None]
    return (F.binary_cross_entropy_with_logits(logits, cover, reduction="none") * weight).mean()


class Batches:
    """Draws observations and makes them what Trainee takes."""

    def __init__(self, records: Records, prompts: Prompts, stats: dict, size: int, noise_samples: int, device: str):
        self.records, self.size, self.noise_samples, self.device = records, size, noise_samples, device
        self.samples = size * records.dtype["task"].shape[0]
        words = [
            [prompts.id(block), prompts.id(plate) if plate else -1]
            for block, plate in zip(records.blocks, records.plates)
        ]
        self.colours = torch.tensor(words, device=device)
        q01, q99 = (torch.tensor(stats["actions"][key], device=device) for key in ("q01", "q99"))
        self.low, self.range = q01, q99 - q01 + 1e-6

    def draw(self) -> list[Tensor]:
        index = torch.randint(len(self.records), (self.size,), device=self.device)
        rows = self.records.rows(index)
        images = torch.stack([rows["base"], rows["wrist"]], 1)
        grain = torch.randint(-NOISE_LEVELS, NOISE_LEVELS + 1, images.shape, dtype=torch.int16, device=self.device)
        images = (images + grain).clamp(0, 255).to(torch.uint8)
        actions = 2 * (rows["actions"].flatten(0, 1) - self.low) / self.range - 1
        actions = F.pad(actions, (0, 32 - actions.shape[-1]))
        noise, times = flow_arguments(actions, self.noise_samples)
        cover = rows["cover"].flatten(0, 1).flatten(2).float() / 255
        colours = self.colours[rows["task"].flatten().long()]
        tokens = rows["tokens"].flatten(0, 1)
        return [images, tokens, colours, actions, rows["offsets"].flatten(0, 1), cover, noise, times]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--batch", type=int, default=48, help="observations; each has three prompts")
    add_arguments(parser)
    arguments = parser.parse_args()
    prepare(arguments)

    stats = {"state": Records(arguments.data).state_stats(), "actions": Records(arguments.data).action_stats()}
    prompts = Prompts(arguments.tokenizer, stats["state"])
    records = Records(arguments.data, prompts, arguments.device)
    batches = Batches(records, prompts, stats, arguments.batch, arguments.noise_samples, arguments.device)
    network = Pi05(Config(vocabulary=len(prompts)))
    trainee = Trainee(network, arguments.noise_samples).to(arguments.device)
    print(f"{len(records)} observations", flush=True)
    fit(trainee, network, batches, {"stats": stats}, arguments)


if __name__ == "__main__":
    main()

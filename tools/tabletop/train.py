"""Behaviour cloning of the tabletop expert: python train.py --data DIR --out DIR [--steps N] [--minutes N] …

Writes OUT/checkpoint.pt now and then and goes on from it when it is there. Ends after --steps, or after --minutes of
training (the learning rate follows whichever is nearer to its end), and then leaves OUT/model.pt, the averaged weights.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data import Prompts, Records
from muon import Muon
from network import Config, Pi05

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

        at = times[..., None, None]
        noisy = at * noise + (1 - at) * actions[:, None]
        error = network.velocity(noisy, times, cache, mask) - (noise - actions[:, None])
        flow = (error.square() * self.dimension_weight).mean((0, 1, 2)).sum() / self.dimension_weight.sum()

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
        count = len(actions)
        noise = torch.randn(count, self.noise_samples, *actions.shape[1:], device=self.device)
        times = torch.rand(count, self.noise_samples, device=self.device) ** (1 / 1.5) * 0.999 + 0.001
        cover = rows["cover"].flatten(0, 1).flatten(2).float() / 255
        colours = self.colours[rows["task"].flatten().long()]
        tokens = rows["tokens"].flatten(0, 1)
        return [images, tokens, colours, actions, rows["offsets"].flatten(0, 1), cover, noise, times]


def optimisers(trainee: Trainee, rate: float) -> list[torch.optim.Optimizer]:
    blocks = [trainee.network.vision.layers, trainee.network.prefix, trainee.network.expert]
    matrices = [p for block in blocks for name, p in block.named_parameters() if p.dim() == 2 and "dense" not in name]
    chosen = {id(p) for p in matrices}
    # The last prefix layer gives K and V alone: its other matrices have no gradient and stay as they are.
    unused = trainee.network.prefix[-1]
    matrices = [p for p in matrices if all(p is not m.weight for m in (unused.q, unused.o, unused.gate, unused.up, unused.down))]
    rest = [p for p in trainee.parameters() if id(p) not in chosen]
    return [
        Muon(matrices, lr=rate, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.95), weight_decay=0.01),
    ]


def schedule(step: int, progress: float) -> float:
    return min(1, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1, progress))))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--batch", type=int, default=48, help="observations; each has three prompts")
    parser.add_argument("--noise-samples", type=int, default=4)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    torch.set_float32_matmul_precision("high")
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)

    stats = {"state": Records(arguments.data).state_stats(), "actions": Records(arguments.data).action_stats()}
    prompts = Prompts(arguments.tokenizer, stats["state"])
    records = Records(arguments.data, prompts, arguments.device)
    batches = Batches(records, prompts, stats, arguments.batch, arguments.noise_samples, arguments.device)
    trainee = Trainee(Pi05(Config(vocabulary=len(prompts))), arguments.noise_samples).to(arguments.device)
    average = {name: value.detach().clone() for name, value in trainee.network.state_dict().items()}
    tools = optimisers(trainee, arguments.rate)
    parameters = sum(p.numel() for p in trainee.network.parameters())
    print(f"{len(records)} observations, {parameters} parameters", flush=True)

    step, spent = 0, 0.0
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=arguments.device, weights_only=True)
        trainee.load_state_dict(saved["trainee"])
        for tool, state in zip(tools, saved["optimisers"]):
            tool.load_state_dict(state)
        average, step, spent = saved["average"], saved["step"], saved["spent"]
        torch.manual_seed(arguments.seed + step)
        print(f"goes on from step {step}", flush=True)

    def save() -> None:
        state = {
            "trainee": trainee.state_dict(),
            "optimisers": [tool.state_dict() for tool in tools],
            "average": average,
            "step": step,
            "spent": spent,
        }
        torch.save(state, checkpoint.with_suffix(".part"))
        checkpoint.with_suffix(".part").rename(checkpoint)
        torch.save({"weights": average, "stats": stats, "vocabulary": len(prompts)}, out / "model.pt")

    forward = torch.compile(trainee) if arguments.compile else trainee
    started, shown, saved_at = time.time() - spent, time.time(), time.time()
    flow_sum = torch.zeros((), device=arguments.device)
    auxiliary_sum = torch.zeros((), device=arguments.device)
    since = 0
    while step < arguments.steps and spent < 60 * arguments.minutes:
        factor = schedule(step, max(step / arguments.steps, spent / (60 * arguments.minutes)))
        for tool in tools:
            for group in tool.param_groups:
                group["lr"] = arguments.rate * factor
        flow, auxiliary = forward(*batches.draw())
        (flow + 0.3 * auxiliary).backward()
        nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
        for tool in tools:
            tool.step()
        trainee.zero_grad(set_to_none=True)
        decay = min(0.999, (1 + step) / (10 + step))
        weights = trainee.network.state_dict()
        torch._foreach_lerp_(list(average.values()), [weights[name] for name in average], 1 - decay)
        flow_sum += flow.detach()
        auxiliary_sum += auxiliary.detach()
        step, since, spent = step + 1, since + 1, time.time() - started
        if step % 50 == 0 and (time.time() - shown > 10 or step <= 50):
            samples = since * arguments.batch * records.dtype["task"].shape[0] / (time.time() - shown)
            line = {"step": step, "flow": flow_sum.item() / since, "auxiliary": auxiliary_sum.item() / since}
            print(json.dumps(line | {"samples_per_s": round(samples), "minutes": round(spent / 60, 2)}), flush=True)
            flow_sum.zero_()
            auxiliary_sum.zero_()
            since, shown = 0, time.time()
        if time.time() - saved_at > 60:
            save()
            saved_at = time.time()
    save()
    print(f"{step} steps in {spent / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    main()

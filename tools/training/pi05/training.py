"""The training loop: Muon for the matrices of the blocks, AdamW for the rest, an average of the weights, and a clock."""

import json
import math
import signal
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from pi05.checkpoint import sizes
from pi05.muon import Muon
from pi05.network import Pi05


class Batches(Protocol):
    """Where a trainee's arguments come from."""

    samples: int
    """Prompts in what `draw` gives."""

    def draw(self) -> list[Tensor]: ...


def flow_arguments(actions: Tensor, noise_samples: int) -> tuple[Tensor, Tensor]:
    """Noise [B, M, H, A] and times [B, M] of M samples for each chunk of normalised actions [B, H, A]."""
    count, device = len(actions), actions.device
    noise = torch.randn(count, noise_samples, *actions.shape[1:], device=device)
    times = torch.rand(count, noise_samples, device=device) ** (1 / 1.5) * 0.999 + 0.001
    return noise, times


def flow_error(
    network: Pi05,
    actions: Tensor,
    noise: Tensor,
    times: Tensor,
    cache,
    mask: Tensor,
    carried_out: Tensor | None = None,
    given: Tensor | None = None,
) -> Tensor:
    """
    Squared error [B, M, H, A] of the velocity of flow matching. Rows that are `given` [B, M, H] are those of `carried_out` [B, H,
    A], as a server gives them that continues a chunk (rtc §5), and have no error.
    """
    at = times[..., None, None]
    noisy = at * noise + (1 - at) * actions[:, None]
    if given is not None:
        noisy = torch.where(given[..., None], carried_out[:, None], noisy)
    error = (network.velocity(noisy, times, cache, mask, given).float() - (noise - actions[:, None])).square()
    return error if given is None else error.masked_fill(given[..., None], 0)


def optimisers(trainee: nn.Module, network: Pi05, rate: float) -> list[torch.optim.Optimizer]:
    blocks = [network.vision.layers, network.prefix, network.expert]
    matrices = [p for block in blocks for name, p in block.named_parameters() if p.dim() == 2 and "dense" not in name]
    chosen = {id(p) for p in matrices}
    # The last prefix layer gives K and V alone: its other matrices have no gradient and stay as they are.
    last = network.prefix[-1]
    unused = [part.weight for part in (last.q, last.o, last.gate, last.up, last.down)]
    matrices = [p for p in matrices if all(p is not weight for weight in unused)]
    rest = [p for p in trainee.parameters() if id(p) not in chosen]
    return [
        Muon(matrices, lr=rate, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.95), weight_decay=0.01),
    ]


def schedule(step: int, progress: float) -> float:
    return min(1, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1, progress))))


def add_arguments(parser: ArgumentParser) -> None:
    """What every trainer takes."""
    parser.add_argument("--out", required=True, help="takes checkpoint.pt, model.pt; goes on from the first if it is there")
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--minutes", type=float, default=math.inf, help="of training, compilation included")
    parser.add_argument("--noise-samples", type=int, default=4)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--bf16", action="store_true", help="products in bfloat16; weights and sums stay float32")


def prepare(arguments: Namespace) -> None:
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    torch.set_float32_matmul_precision("high")


class Stop:
    """Set by SIGTERM and SIGINT: the loop ends after the step that it is at, and saves."""

    def __init__(self) -> None:
        self.set = False
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self._hear)

    def _hear(self, *_: object) -> None:
        self.set = True


def fit(trainee: nn.Module, network: Pi05, batches: Batches, facts: dict, arguments: Namespace) -> None:
    """
    Trains until `--steps`, `--minutes`, or a signal. `trainee(*batches.draw())` gives the loss of the flow, and that of
    the auxiliary heads. Once a minute and at the end it leaves OUT/model.pt, the averaged weights with `facts`, and
    OUT/checkpoint.pt, from which the next call goes on.
    """
    out, device = Path(arguments.out), arguments.device
    out.mkdir(parents=True, exist_ok=True)
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    tools = optimisers(trainee, network, arguments.rate)
    facts = {**facts, "config": sizes(network.config)}
    print(f"{sum(p.numel() for p in network.parameters())} parameters", flush=True)

    step, spent = 0, 0.0
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
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
        write(state, checkpoint)
        write({"weights": average, **facts}, out / "model.pt")

    stop = Stop()
    forward = torch.compile(trainee) if arguments.compile else trainee
    started, shown, saved_at = time.time() - spent, time.time(), time.time()
    sums, since = torch.zeros(2, device=device), 0
    while step < arguments.steps and spent < 60 * arguments.minutes and not stop.set:
        factor = schedule(step, max(step / arguments.steps, spent / (60 * arguments.minutes)))
        for tool in tools:
            for group in tool.param_groups:
                group["lr"] = arguments.rate * factor
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=arguments.bf16):
            flow, auxiliary = forward(*batches.draw())
        (flow + 0.3 * auxiliary).backward()
        nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
        for tool in tools:
            tool.step()
        trainee.zero_grad(set_to_none=True)
        decay = min(0.999, (1 + step) / (10 + step))
        weights = network.state_dict()
        torch._foreach_lerp_(list(average.values()), [weights[name] for name in average], 1 - decay)
        sums += torch.stack([flow.detach(), auxiliary.detach()]).float()
        step, since, spent = step + 1, since + 1, time.time() - started
        if step % 10 == 0 and (time.time() - shown > 10 or step <= 50):
            flow_mean, auxiliary_mean = (sums / since).tolist()
            rate = round(since * batches.samples / (time.time() - shown), 1)
            line = {"step": step, "flow": flow_mean, "auxiliary": auxiliary_mean, "samples_per_s": rate}
            print(json.dumps(line | {"minutes": round(spent / 60, 2)}), flush=True)
            sums.zero_()
            since, shown = 0, time.time()
        if time.time() - saved_at > 60:
            save()
            saved_at = time.time()
    save()
    print(f"{step} steps in {spent / 60:.1f} minutes", flush=True)


def write(value: object, path: Path) -> None:
    """Whole, or not at all."""
    part = path.with_suffix(".part")
    torch.save(value, part)
    part.rename(path)

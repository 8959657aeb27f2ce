"""Pi0.5 in PyTorch, small: SigLIP tower, PaliGemma prefix, action expert with adaRMS, flow matching.

The equations are openpi's. One thing is done for speed and changes nothing of the result: the masked third camera is
left out.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Config:
    """Sizes; those that are not given are the tabletop policy's."""

    vocabulary: int
    image_size: int = 56
    patch: int = 8
    cameras: int = 2
    vision_width: int = 96
    vision_depth: int = 3
    vision_heads: int = 3
    vision_mlp: int = 288
    prefix_width: int = 96
    prefix_mlp: int = 288
    expert_width: int = 96
    expert_mlp: int = 256
    depth: int = 4
    heads: int = 3
    head_dim: int = 32
    horizon: int = 10
    action_dim: int = 32
    rope_theta: float = 10000.0
    min_period: float = 0.004
    max_period: float = 4.0

    @property
    def patches(self) -> int:
        return (self.image_size // self.patch) ** 2

    @property
    def image_tokens(self) -> int:
        return self.cameras * self.patches


def rms_norm(x: Tensor) -> Tensor:
    return (x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


def gelu(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def sine_cosine_table(side: int, width: int) -> Tensor:
    """Where a patch is, as sines and cosines of its row and column: the start of the position table."""
    quarter = width // 4
    frequency = 2.0 ** torch.linspace(0, 2, quarter)
    place = torch.linspace(-1, 1, side)[:, None] * frequency * (math.pi / 2)
    waves = torch.cat([place.sin(), place.cos()], -1)
    rows = waves[:, None].expand(side, side, -1)
    columns = waves[None].expand(side, side, -1)
    return torch.cat([rows, columns], -1).reshape(side * side, -1)


class VisionLayer(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.heads = c.vision_heads
        self.norm1 = nn.LayerNorm(c.vision_width, eps=1e-6)
        self.norm2 = nn.LayerNorm(c.vision_width, eps=1e-6)
        self.q, self.k, self.v, self.out = (nn.Linear(c.vision_width, c.vision_width) for _ in range(4))
        self.fc1 = nn.Linear(c.vision_width, c.vision_mlp)
        self.fc2 = nn.Linear(c.vision_mlp, c.vision_width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(x)
        split = lambda y: y.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # noqa: E731
        mixed = F.scaled_dot_product_attention(split(self.q(h)), split(self.k(h)), split(self.v(h)))
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.fc2(gelu(self.fc1(self.norm2(x))))


class Vision(nn.Module):
    """u8 [n, size, size, 3] to [n, patches, prefix width]."""

    def __init__(self, c: Config):
        super().__init__()
        self.patch = c.patch
        self.embed = nn.Linear(3 * c.patch**2, c.vision_width)
        table = sine_cosine_table(c.image_size // c.patch, c.vision_width)
        self.position = nn.Parameter(0.5 * table)
        self.layers = nn.ModuleList(VisionLayer(c) for _ in range(c.vision_depth))
        self.norm = nn.LayerNorm(c.vision_width, eps=1e-6)
        self.projector = nn.Linear(c.vision_width, c.prefix_width)

    def forward(self, images: Tensor) -> Tensor:
        x = images.float() / 255 * 2 - 1
        n, side, p = len(x), x.shape[1] // self.patch, self.patch
        x = x.view(n, side, p, side, p, 3).permute(0, 1, 3, 5, 2, 4).reshape(n, side * side, -1)
        x = self.embed(x) + self.position
        for layer in self.layers:
            x = layer(x)
        return self.projector(self.norm(x))


def rope(positions: Tensor, c: Config) -> tuple[Tensor, Tensor]:
    """Cosine and sine [..., head_dim / 2] of the angles at integer positions."""
    index = torch.arange(c.head_dim // 2, device=positions.device)
    angle = positions[..., None] * c.rope_theta ** (-2 * index / c.head_dim)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    a, b = x.chunk(2, -1)
    cos, sin = (part.to(x.dtype) for part in turn)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class GemmaLayer(nn.Module):
    """Projections and MLP of one layer, of the prefix or of the expert; one key/value head."""

    def __init__(self, c: Config, width: int, mlp: int):
        super().__init__()
        linear = lambda rows, columns: nn.Linear(columns, rows, bias=False)  # noqa: E731
        self.q = linear(c.heads * c.head_dim, width)
        self.k = linear(c.head_dim, width)
        self.v = linear(c.head_dim, width)
        self.o = linear(width, c.heads * c.head_dim)
        self.gate = linear(mlp, width)
        self.up = linear(mlp, width)
        self.down = linear(width, mlp)

    def mlp(self, x: Tensor) -> Tensor:
        return self.down(gelu(self.gate(x)) * self.up(x))


class PrefixLayer(GemmaLayer):
    def __init__(self, c: Config):
        super().__init__(c, c.prefix_width, c.prefix_mlp)
        self.heads = c.heads
        self.norm1 = nn.Parameter(torch.zeros(c.prefix_width))
        self.norm2 = nn.Parameter(torch.zeros(c.prefix_width))

    def keys_values(self, x: Tensor, turn) -> tuple[Tensor, Tensor, Tensor]:
        h = rms_norm(x) * (1 + self.norm1)
        return h, rotate(self.k(h), turn), self.v(h)

    def forward(self, x: Tensor, turn, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, P, W] to the same; `mask` [B, P] is true for valid tokens. Also gives K and V [B, P, head_dim]."""
        h, k, v = self.keys_values(x, turn)
        q = rotate(self.q(h).unflatten(-1, (self.heads, -1)), tuple(part[:, :, None] for part in turn))
        # One key/value head: all heads' queries are a longer sequence of the same attention.
        mixed = F.scaled_dot_product_attention(
            q.flatten(1, 2)[:, None], k[:, None], v[:, None], attn_mask=mask[:, None, None]
        )
        x = x + self.o(mixed[:, 0].unflatten(1, (-1, self.heads)).flatten(2))
        return x + self.mlp(rms_norm(x) * (1 + self.norm2)), k, v


class Condition(NamedTuple):
    """Of the time [B, M, W]; and where rows are given [B, M, H], of time 0 [W], which is theirs."""

    time: Tensor
    given: Tensor | None = None
    zero: Tensor | None = None


class AdaptiveNorm(nn.Module):
    """adaRMS: scale, shift and gate from the time condition; starts as a plain norm with gate 1."""

    def __init__(self, width: int):
        super().__init__()
        self.dense = nn.Linear(width, 3 * width)
        nn.init.zeros_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)
        with torch.no_grad():
            self.dense.bias[2 * width :] = 1

    def forward(self, x: Tensor, condition: "Condition") -> tuple[Tensor, Tensor]:
        factors = self.dense(condition.time)[..., None, :]
        if condition.given is not None:
            factors = torch.where(condition.given[..., None], self.dense(condition.zero), factors)
        scale, shift, gate = factors.chunk(3, -1)
        return rms_norm(x) * (1 + scale) + shift, gate


class ExpertLayer(GemmaLayer):
    def __init__(self, c: Config):
        super().__init__(c, c.expert_width, c.expert_mlp)
        self.heads = c.heads
        self.norm1 = AdaptiveNorm(c.expert_width)
        self.norm2 = AdaptiveNorm(c.expert_width)

    def forward(self, x: Tensor, condition: Condition, turn, prefix_k: Tensor, prefix_v: Tensor, bias: Tensor):
        """x [B, M, H, W]: M noise samples share one prefix. `bias` [B, P] is 0 or −∞."""
        h, gate = self.norm1(x, condition)
        b, m, s, _ = h.shape
        q = self.q(h).unflatten(-1, (self.heads, -1))
        q = rotate(q, tuple(part[:, None, :, None] for part in turn)).flatten(2, 3)
        k = rotate(self.k(h), tuple(part[:, None] for part in turn))
        v = self.v(h)
        to_prefix = torch.bmm(q.flatten(1, 2), prefix_k.transpose(1, 2)) + bias[:, None]
        to_own = q @ k.transpose(-1, -2)
        logits = torch.cat([to_prefix.unflatten(1, (m, -1)), to_own], -1) / math.sqrt(k.shape[-1])
        weight = logits.float().softmax(-1).to(v.dtype)
        count = prefix_k.shape[1]
        mixed = torch.bmm(weight[..., :count].flatten(1, 2), prefix_v).unflatten(1, (m, -1))
        mixed = mixed + weight[..., count:] @ v
        x = x + self.o(mixed.unflatten(2, (s, self.heads)).flatten(3)) * gate
        h, gate = self.norm2(x, condition)
        return x + self.mlp(h) * gate


class Pi05(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.config = c
        self.vision = Vision(c)
        self.embedding = nn.Embedding(c.vocabulary, c.prefix_width)
        nn.init.normal_(self.embedding.weight, std=c.prefix_width**-0.5)
        self.prefix = nn.ModuleList(PrefixLayer(c) for _ in range(c.depth))
        self.expert = nn.ModuleList(ExpertLayer(c) for _ in range(c.depth))
        self.final = AdaptiveNorm(c.expert_width)
        self.action_in = nn.Linear(c.action_dim, c.expert_width)
        self.action_out = nn.Linear(c.expert_width, c.action_dim)
        self.time_in = nn.Linear(c.expert_width, c.expert_width)
        self.time_out = nn.Linear(c.expert_width, c.expert_width)
        with torch.no_grad():
            # Attention of the first layer begins as similarity.
            self.prefix[0].k.weight.copy_(self.prefix[0].q.weight[: c.head_dim])

    def see(self, images: Tensor) -> Tensor:
        """u8 [B, cameras, size, size, 3] to image tokens [B, image_tokens, W]."""
        tokens = self.vision(images.flatten(0, 1))
        return tokens.unflatten(0, (len(images), -1)).flatten(1, 2)

    def read(self, image_tokens: Tensor, tokens: Tensor, valid: Tensor):
        """Prefix K and V of every layer, the features before the last one, and what the denoiser needs to know."""
        words = self.embedding(tokens) * math.sqrt(self.config.prefix_width)
        x = torch.cat([image_tokens, words.to(image_tokens.dtype)], 1)
        mask = torch.cat([valid.new_ones(image_tokens.shape[:2]), valid], 1)
        turn = rope(mask.cumsum(1) - 1, self.config)
        cache = []
        for layer in self.prefix[:-1]:
            x, k, v = layer(x, turn, mask)
            cache.append((k, v))
        cache.append(self.prefix[-1].keys_values(x, turn)[1:])
        return cache, mask, x

    def condition(self, time: Tensor) -> Tensor:
        """What the expert's norms are told of times, [..., W]."""
        c = self.config
        fraction = torch.linspace(0, 1, c.expert_width // 2, dtype=torch.float64, device=time.device)
        period = c.min_period * (c.max_period / c.min_period) ** fraction
        angle = 2 * math.pi * time.double()[..., None] / period
        embedding = torch.cat([angle.sin(), angle.cos()], -1).float()
        return F.silu(self.time_out(F.silu(self.time_in(embedding))))

    def velocity(self, noisy: Tensor, time: Tensor, cache, mask: Tensor, given: Tensor | None = None) -> Tensor:
        """v of noisy actions [B, M, H, A] at times [B, M]; rows that are given [B, M, H] are not noisy, and have time 0."""
        c = self.config
        condition = Condition(self.condition(time))
        if given is not None:
            condition = Condition(condition.time, given, self.condition(time.new_zeros(())))
        positions = mask.sum(1)[:, None] + torch.arange(c.horizon, device=time.device)
        turn = rope(positions, c)
        bias = torch.zeros_like(mask, dtype=torch.float32).masked_fill(~mask, float("-inf"))
        x = self.action_in(noisy)
        for layer, (k, v) in zip(self.expert, cache):
            x = layer(x, condition, turn, k, v, bias)
        return self.action_out(self.final(x, condition)[0])

    @torch.no_grad()
    def infer(
        self,
        images: Tensor,
        tokens: Tensor,
        valid: Tensor,
        noise: Tensor,
        steps: int,
        decided: Tensor | None = None,
        given: Tensor | None = None,
    ) -> Tensor:
        """Normalised actions [B, H, A] from noise of that shape. Rows that are `given` [B, H] are those of `decided` [B, H, A] (rtc §5)."""
        cache, mask, _ = self.read(self.see(images), tokens, valid)
        x = noise if given is None else torch.where(given[..., None], decided, noise)
        for step in range(steps):
            time = torch.full((len(x), 1), 1 - step / steps, device=x.device)
            rows = None if given is None else given[:, None]
            change = self.velocity(x[:, None], time, cache, mask, rows)[:, 0].float() / steps
            x = x - (change if given is None else change.masked_fill(given[..., None], 0))
        return x

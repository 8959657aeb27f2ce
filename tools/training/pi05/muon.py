"""Muon: momentum whose matrix is made orthogonal before it is applied. Matrices of one shape go together."""

from collections import defaultdict

import torch


def orthogonalise(x: torch.Tensor) -> torch.Tensor:
    """Newton–Schulz iteration on a batch of wide matrices [n, rows ≤ columns]."""
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


class Muon(torch.optim.Optimizer):
    def __init__(self, parameters, lr: float, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            shapes = defaultdict(list)
            for parameter in group["params"]:
                shapes[tuple(sorted(parameter.shape))].append(parameter)
            for shape, parameters in shapes.items():
                gradients = [p.grad for p in parameters]
                buffers = [self._buffer(p) for p in parameters]
                torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
                ahead = torch._foreach_lerp(gradients, buffers, group["momentum"])
                wide = torch.stack([m if m.shape[0] <= m.shape[1] else m.mT for m in ahead])
                # Updates as large as AdamW's, whatever the shape: one learning rate serves both.
                steps = orthogonalise(wide) * (0.2 * max(shape) ** 0.5 * group["lr"])
                if group["weight_decay"]:
                    torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                updates = [
                    step if p.shape[0] <= p.shape[1] else step.mT for p, step in zip(parameters, steps)
                ]
                torch._foreach_sub_(parameters, updates)

    def _buffer(self, parameter: torch.Tensor) -> torch.Tensor:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        return state["momentum"]

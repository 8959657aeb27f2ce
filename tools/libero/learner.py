"""A trained network that acts. The simulators' processes do not import this: they need no PyTorch."""

import numpy as np
import torch

from pi05.network import Config, Pi05
from pi05.prompts import Prompts, normalise, unnormalise
from simulator import prompts as task_prompts
from train import ACTION_SIZE, PROMPT_TOKENS


class Learner:
    def __init__(self, model: str, tokenizer: str, device: str, steps: int, seed: int = 0):
        """`model`: what train.py leaves. `steps`: denoise steps."""
        saved = torch.load(model, map_location=device, weights_only=True)
        self.network = Pi05(Config(**saved["config"])).to(device).eval()
        self.network.load_state_dict(saved["weights"])
        self.stats = saved["stats"]
        self.prompts = Prompts(tokenizer, self.stats["state"], PROMPT_TOKENS)
        self.tasks = task_prompts()
        self.device, self.steps = device, steps
        self.generator = torch.Generator(device).manual_seed(seed)

    @torch.no_grad()
    def act(
        self,
        pictures: np.ndarray,
        states: np.ndarray,
        tasks: list[int],
        given: list[np.ndarray],
        noise: torch.Tensor | None = None,
    ) -> np.ndarray:
        """As simulators.Actor; `noise` [n, 10, 32] is drawn when it is not given."""
        c = self.network.config
        encoded = self.prompts.encode([self.tasks[task] for task in tasks], states)
        tokens = torch.from_numpy(encoded).long().to(self.device)
        images = torch.from_numpy(pictures).to(self.device)
        shape = (len(tasks), c.horizon, c.action_dim)
        if noise is None:
            noise = torch.randn(shape, generator=self.generator, device=self.device)
        decided, rows = torch.zeros(shape), torch.tensor([len(part) for part in given])
        for place, part in zip(decided, given):
            place[: len(part), :ACTION_SIZE] = torch.from_numpy(normalise(part, self.stats["actions"]))
        is_given = torch.arange(c.horizon) < rows[:, None]
        decided, is_given = decided.to(self.device), is_given.to(self.device)
        actions = self.network.infer(images, tokens, tokens != 0, noise, self.steps, decided, is_given)
        return unnormalise(actions[..., :ACTION_SIZE].double().cpu().numpy(), self.stats["actions"])

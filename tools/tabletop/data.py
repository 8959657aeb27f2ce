"""Recorded observations, on their way into the network."""

import json
from pathlib import Path

import numpy as np
import torch

from pi05.prompts import Prompts, describe

# The workspace bounds the state; the rotations never move.
STATE_Q01 = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -0.04]
STATE_Q99 = [1.0, 1.0, 0.55, 0.0, 0.0, 0.0, 0.04, 0.0]


class Records:
    """The recorder's file as one tensor of bytes [n, bytes], mapped or on the GPU; fields are cut from its rows."""

    def __init__(self, folder: str, prompts: Prompts | None = None, device: str = "cpu"):
        about = json.loads((Path(folder) / "records.json").read_text())
        self.dtype = np.dtype([(name, kind, tuple(shape)) for name, kind, shape in about["fields"]])
        assert self.dtype.itemsize == about["recordBytes"]
        self.table = np.memmap(Path(folder) / "records.bin", dtype=self.dtype, mode="r")
        self.prompts, self.blocks, self.plates = about["prompts"], about["blocks"], about["plates"]
        self.tokens = None
        if prompts:
            tasks = self.table["task"]
            states = np.repeat(self.table["state"], tasks.shape[1], 0)
            names = [self.prompts[task] for task in tasks.reshape(-1)]
            encoded = prompts.encode(names, states).reshape(*tasks.shape, -1)
            self.tokens = torch.from_numpy(encoded).to(device)
        raw = self.table.view(np.uint8).reshape(len(self.table), -1)
        self.raw = torch.from_numpy(np.array(raw)).to(device) if device != "cpu" else raw
        self.device = device

    def __len__(self) -> int:
        return len(self.table)

    def action_stats(self) -> dict:
        first = np.asarray(self.table["actions"][:: max(1, len(self) // 50000), 0], np.float64).reshape(-1, 7)
        return describe(first, *np.quantile(first, [0.01, 0.99], axis=0))

    def state_stats(self) -> dict:
        return describe(np.asarray(self.table["state"]), np.array(STATE_Q01), np.array(STATE_Q99))

    def rows(self, index: torch.Tensor) -> dict[str, torch.Tensor]:
        """The records at `index`, and their tokens."""
        if self.device == "cpu":
            bytes_ = torch.from_numpy(self.raw[np.sort(index.numpy())])
            index = index.sort().values
        else:
            bytes_ = self.raw[index]
        result = {"tokens": self.tokens[index].long()}
        for name, (kind, offset) in self.dtype.fields.items():
            base, shape = kind.subdtype
            part = bytes_[:, offset : offset + kind.itemsize].contiguous()
            torch_type = {"u1": torch.uint8, "f4": torch.float32, "f8": torch.float64}[base.str[1:]]
            result[name] = part.view(torch_type).view(len(index), *shape)
        return result

"""Writes a trained network as a policy directory: python export.py --model OUT/model.pt --out DIR

The tokenizer must lie in DIR already. Needs the package safetensors besides PyTorch.
"""

import argparse
from pathlib import Path

import torch

from pi05.checkpoint import write_policy

ENLARGEMENT = 4
"""A camera image is its 56² drawing with every pixel repeated 4 × 4: patches of 8 there are patches of 32 at 224²."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    saved = torch.load(arguments.model, map_location="cpu", weights_only=True)
    fields = {"name": "tabletop", "embodiment": "libero", "normalisation": "quantile"}
    write_policy(saved, Path(arguments.out), asset="tabletop", fields=fields, enlargement=ENLARGEMENT)


if __name__ == "__main__":
    main()

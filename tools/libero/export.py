"""
Writes a trained network as a policy directory: python export.py --model OUT/model.pt --tokenizer FILE --out DIR

openpi's names and config, quantile statistics, weights in bfloat16.
"""

import argparse
import shutil
from pathlib import Path

import torch

from pi05.checkpoint import write_policy

ASSET = "physical-intelligence/libero"
"""Where openpi has the statistics of LIBERO."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--tokenizer", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--name", default="libero-spatial")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(arguments.tokenizer, arguments.out / "tokenizer.model")
    saved = torch.load(arguments.model, map_location="cpu", weights_only=True)
    fields = {"name": arguments.name, "config": "pi05_libero"}
    write_policy(saved, arguments.out, asset=ASSET, fields=fields, dtype=torch.bfloat16)


if __name__ == "__main__":
    main()

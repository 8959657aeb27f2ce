"""Trains the small SentencePiece model of the LIBERO policy: python tokenizer.py OUT.model

Every digit and every word of the ten prompts is one piece.
"""

import random
import sys

from pi05.tokenizer import train_tokenizer
from simulator import prompts

VOCABULARY = 420


def sentences(tasks: list[str], count: int = 4000):
    """Prompts as the server writes them, with states of all kinds."""
    draw = random.Random(0)
    for _ in range(count):
        bins = " ".join(str(draw.randint(-1, 255)) for _ in range(8))
        yield f"Task: {draw.choice(tasks)}, State: {bins};\nAction: "


if __name__ == "__main__":
    train_tokenizer(sentences(prompts()), VOCABULARY, sys.argv[1])

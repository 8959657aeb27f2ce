"""Trains the small SentencePiece model of the tabletop policy: python tokenizer.py OUT.model

Every digit and every word of the tasks is one piece.
"""

import random
import sys

from pi05.tokenizer import train_tokenizer

BLOCKS = ["red", "green", "blue", "yellow", "purple"]
PLATES = ["white", "black", "cyan"]
VOCABULARY = 365


def sentences(count: int = 4000):
    """Prompts as the server writes them, with states of all kinds."""
    draw = random.Random(0)
    for _ in range(count):
        prompt = f"pick up the {draw.choice(BLOCKS)} block"
        if draw.random() < 0.6:
            prompt += f" and place it on the {draw.choice(PLATES)} plate"
        bins = " ".join(str(draw.randint(-1, 255)) for _ in range(8))
        yield f"Task: {prompt}, State: {bins};\nAction: "


if __name__ == "__main__":
    train_tokenizer(sentences(), VOCABULARY, sys.argv[1])

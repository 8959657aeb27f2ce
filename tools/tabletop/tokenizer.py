"""Trains the small SentencePiece model of the tabletop policy: python tokenizer.py OUT.model

Options are those of Gemma's tokenizer (identity normaliser, no dummy prefix, byte fallback, digits split), so that
the same reader takes both. Every digit and every word of the tasks is one piece.
"""

import io
import random
import sys

import sentencepiece

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


def train(path: str) -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=sentences(),
        model_writer=model,
        model_type="bpe",
        vocab_size=VOCABULARY,
        hard_vocab_limit=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        character_coverage=1.0,
        user_defined_symbols=["\n"],
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
    )
    with open(path, "wb") as file:
        file.write(model.getvalue())


if __name__ == "__main__":
    train(sys.argv[1])

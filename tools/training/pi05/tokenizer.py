"""A small SentencePiece model with the options of Gemma's tokenizer, so that the same reader takes both."""

import io
from collections.abc import Iterable

import sentencepiece


def train_tokenizer(sentences: Iterable[str], vocabulary: int, path: str) -> None:
    """Identity normaliser, no dummy prefix, byte fallback, digits split: every digit is one piece."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocabulary,
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

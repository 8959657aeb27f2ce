"""Normalisation by quantiles, and prompts with the state in 256 bins, as the server makes them (network §4)."""

import numpy as np
import sentencepiece

EDGES = -1 + np.arange(256) / 128


def normalise(x, stats):
    q01, q99 = (np.asarray(stats[key]) for key in ("q01", "q99"))
    return 2 * (x - q01) / (q99 - q01 + 1e-6) - 1


def unnormalise(x, stats):
    q01, q99 = (np.asarray(stats[key]) for key in ("q01", "q99"))
    return (x + 1) / 2 * (q99 - q01 + 1e-6) + q01


def describe(values: np.ndarray, q01: np.ndarray, q99: np.ndarray) -> dict:
    """Statistics of values [n, dimensions] as norm_stats.json holds them."""
    fields = {"mean": values.mean(0), "std": values.std(0), "q01": q01, "q99": q99}
    return {name: [round(float(number), 6) for number in row] for name, row in fields.items()}


class Prompts:
    """Writes prompts and encodes them, at most `length` tokens each."""

    def __init__(self, tokenizer: str, state_stats: dict, length: int = 50):
        self.encoder = sentencepiece.SentencePieceProcessor(model_file=tokenizer)
        self.state_stats = state_stats
        self.length = length

    def __len__(self) -> int:
        return self.encoder.vocab_size()

    def id(self, word: str) -> int:
        """Of a word inside a sentence."""
        (piece,) = self.encoder.encode(f" {word}")
        return piece

    def encode(self, prompts: list[str], states: np.ndarray) -> np.ndarray:
        """Ids [n, length], padded with 0."""
        bins = np.searchsorted(EDGES, normalise(states, self.state_stats), side="right") - 1
        texts = [
            f"Task: {prompt}, State: {' '.join(map(str, row))};\nAction: "
            for prompt, row in zip(prompts, bins.tolist())
        ]
        result = np.zeros((len(texts), self.length), np.int16)
        for row, ids in zip(result, self.encoder.encode(texts, add_bos=True, num_threads=0)):
            if len(ids) > self.length:
                raise ValueError(f"a prompt of {len(ids)} tokens; there is room for {self.length}")
            row[: len(ids)] = ids
        return result

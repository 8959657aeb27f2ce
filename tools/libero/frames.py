"""Recorded episodes as a trainer takes them: a table of frames, and which picture each of them shows."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from episodes import HORIZON, Episode
from simulator import BOWLS


@dataclass
class Frames:
    """N frames of P pictures: a frame with another prompt shares the picture."""

    paths: list[Path]
    picture_episode: np.ndarray
    """[P], index of the path"""
    picture_step: np.ndarray
    """[P]"""
    picture: np.ndarray
    """[N]"""
    prompt_task: np.ndarray
    """[N], the task whose prompt it is"""
    bowl: np.ndarray
    """[N], index in BOWLS of the one that it means"""
    state: np.ndarray
    """[N, 8]"""
    actions: np.ndarray
    """[N, 10, 7]"""
    carried_out: np.ndarray
    """[N, 10, 7]: what the arm was told, which is not always what the expert answered"""
    given: np.ndarray
    """[N]: rows that somebody else carried out, so that a network has to be given them; mostly 0"""
    offsets: np.ndarray
    """[N, 6]: bowl and plate from the hand, in metres"""

    def __len__(self) -> int:
        return len(self.picture)


def read(folders: list[Path], every: int = 1) -> Frames:
    """All episodes in the folders, every n-th labelled step of each, and all branches. The order is always the same."""
    paths = sorted(path for folder in folders for path in Path(folder).glob("t*.npz"))
    if not paths:
        raise SystemExit(f"no recorded episodes in {', '.join(map(str, folders))}; record.py writes them")
    names = ("picture", "prompt_task", "bowl", "state", "actions", "carried_out", "given", "offsets")
    columns = {name: [] for name in names}
    picture_episode, picture_step = [], []

    def add(episode: Episode, step: int, task: int, bowl: int, chunk: np.ndarray, told: np.ndarray, given: int) -> None:
        hand, things = episode.state[step, :3], episode.things[step]
        offsets = np.concatenate((things[bowl] - hand, things[len(BOWLS)] - hand))
        row = (len(picture_step) - 1, task, bowl, episode.state[step], chunk, told, given, offsets)
        for name, value in zip(names, row):
            columns[name].append(value)

    for index, path in enumerate(paths):
        episode = Episode.read(path)
        labelled, own = episode.labelled(), episode.own()
        labelled[np.arange(len(labelled)) % every != episode.seed % every] = False
        branches = {step: np.flatnonzero(episode.branch_at == step) for step in episode.branch_at.tolist()}
        for step in range(len(episode.state)):
            if not labelled[step] and step not in branches:
                continue
            picture_episode.append(index)
            picture_step.append(step)
            if labelled[step]:
                chunk = slice(step, step + HORIZON)
                told = episode.carried_out[chunk]
                add(episode, step, episode.prompt_task, episode.bowl, episode.actions[chunk], told, own[step])
            for row in branches.get(step, ()):
                bowl = int(episode.branch_bowl[row])
                task = episode.prompt_task if bowl == episode.bowl else episode.other_task
                tried = (episode.branch_actions[row], episode.branch_carried_out[row], episode.branch_given[row])
                add(episode, step, task, bowl, *tried)
    return Frames(
        paths=paths,
        picture_episode=np.array(picture_episode),
        picture_step=np.array(picture_step),
        **{name: np.array(column) for name, column in columns.items()},
    )

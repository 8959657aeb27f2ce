"""
Draws the pictures of recorded episodes: python draw.py --demos DIR… --out DIR [--every 1] [--processes 16]

OUT gets pictures.u8, both cameras of every picture as policies are sent them (2 · 224 · 224 · 3 bytes, in the order of
frames.py), seen.f4, where they show the bowls and the plate, and drawn.json. It needs the simulator with its assets, and
EGL or OSMesa (MUJOCO_GL); no policy, and no network.
"""

import argparse
import json
import multiprocessing
import time
from pathlib import Path

import numpy as np

import frames
from episodes import Episode
from simulator import CAMERAS, SENT, Simulator

RADII = np.array([0.055, 0.055, 0.095])
"""Of the bowls and the plate, in metres."""
MIDDLE = np.array([[0, 0, 0.03], [0, 0, 0.03], [0, 0, 0]])
"""Of what is seen of them, from where their bodies are."""
PICTURE = (len(CAMERAS), SENT, SENT, 3)
SEEN = (len(CAMERAS), len(RADII), 3)


def tables(out: Path, count: int, mode: str) -> tuple[np.ndarray, np.ndarray]:
    """Pictures u8 [count, 2, 224, 224, 3], and where they show the things, f4 [count, 2, 3, 3] (Simulator.seen)."""
    pictures = np.memmap(out / "pictures.u8", np.uint8, mode, shape=(count, *PICTURE))
    return pictures, np.memmap(out / "seen.f4", np.float32, mode, shape=(count, *SEEN))


def work(job: tuple[list[tuple[Path, list[tuple[int, int]]]], Path, int]) -> int:
    """Some episodes: for each its path, and the pairs of step and picture."""
    episodes, out, count = job
    pictures, seen = tables(out, count, "r+")
    # All ten tasks have the same things in another order on the table: one simulator draws them all.
    simulator = Simulator(0)
    for path, wanted in episodes:
        episode = Episode.read(path)
        for step, picture in wanted:
            simulator.place(episode.qpos[step], episode.fixtures)
            pictures[picture] = simulator.drawn()
            seen[picture] = simulator.seen(episode.things[step] + MIDDLE, RADII)
    simulator.close()
    return sum(len(wanted) for _, wanted in episodes)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--demos", required=True, nargs="+", type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--every", type=int, default=1, help="every n-th step of an episode")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    table = frames.read(arguments.demos, arguments.every)
    count = len(table.picture_step)
    tables(arguments.out, count, "w+")
    wanted: dict[Path, list[tuple[int, int]]] = {}
    for picture, (index, step) in enumerate(zip(table.picture_episode.tolist(), table.picture_step.tolist())):
        wanted.setdefault(table.paths[index], []).append((step, picture))
    episodes = list(wanted.items())
    jobs = [(episodes[part :: arguments.processes], arguments.out, count) for part in range(arguments.processes)]
    started, done = time.time(), 0
    with multiprocessing.get_context("spawn").Pool(arguments.processes, maxtasksperchild=1) as pool:
        for drawn in pool.imap_unordered(work, [job for job in jobs if job[0]]):
            done += drawn
            print(f"{done} of {count} pictures, {done / (time.time() - started):.1f} a second", flush=True)
    about = {"pictures": count, "every": arguments.every, "demos": [str(path) for path in arguments.demos]}
    (arguments.out / "drawn.json").write_text(json.dumps(about) + "\n")


if __name__ == "__main__":
    main()

"""
Draws the pictures of recorded episodes: python draw.py --demos DIR… --out DIR [--every 1] [--processes 16] [--gpus 2]

OUT gets pictures.u8, both cameras of every picture as policies are sent them (2 · 224 · 224 · 3 bytes, in the order of
frames.py), seen.f4, where they show the bowls and the plate, and drawn.json. What OUT has of the same episodes stays: after a
round of DAgger only its own are drawn. It needs the simulator with its assets, and EGL or OSMesa (MUJOCO_GL); no policy, and
no network.
"""

import argparse
import json
import math
import multiprocessing
import os
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


def prepare(out: Path, count: int) -> None:
    """Tables of the right length, with what they hold so far."""
    out.mkdir(parents=True, exist_ok=True)
    for name, size in (("pictures.u8", math.prod(PICTURE)), ("seen.f4", 4 * math.prod(SEEN))):
        with open(out / name, "ab") as file:
            file.truncate(count * size)


def drawn_before(out: Path, table: frames.Frames, every: int) -> int:
    """How many pictures, from the first on, an earlier call has left there."""
    file = out / "drawn.json"
    if not file.exists():
        return 0
    about = json.loads(file.read_text())
    count = about["pictures"]
    before = frames.read([Path(path) for path in about["demos"]], about["every"])
    same = (
        about["every"] == every
        and len(before.picture_step) == count
        and before.paths == table.paths[: len(before.paths)]
        and np.array_equal(before.picture_episode, table.picture_episode[:count])
        and np.array_equal(before.picture_step, table.picture_step[:count])
    )
    return count if same else 0


def work(job: tuple[list[tuple[Path, list[tuple[int, int]]]], Path, int, int | None]) -> int:
    """Some episodes: for each its path, and the pairs of step and picture; the GPU that draws them, where it is told."""
    episodes, out, count, gpu = job
    if gpu is not None:
        os.environ["MUJOCO_EGL_DEVICE_ID"] = str(gpu)
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
    parser.add_argument("--gpus", type=int, default=0, help="that take turns; one draws some 300 pictures a second")
    arguments = parser.parse_args()
    table = frames.read(arguments.demos, arguments.every)
    count = len(table.picture_step)
    kept = drawn_before(arguments.out, table, arguments.every)
    if kept == 0:
        (arguments.out / "drawn.json").unlink(missing_ok=True)
    prepare(arguments.out, count)
    wanted: dict[Path, list[tuple[int, int]]] = {}
    for picture in range(kept, count):
        path = table.paths[table.picture_episode[picture]]
        wanted.setdefault(path, []).append((int(table.picture_step[picture]), picture))
    episodes = list(wanted.items())
    jobs = []
    for part in range(arguments.processes):
        gpu = part % arguments.gpus if arguments.gpus else None
        jobs.append((episodes[part :: arguments.processes], arguments.out, count, gpu))
    started, done = time.time(), kept
    with multiprocessing.get_context("spawn").Pool(arguments.processes, maxtasksperchild=1) as pool:
        for drawn in pool.imap_unordered(work, [job for job in jobs if job[0]]):
            done += drawn
            print(f"{done} of {count} pictures, {(done - kept) / (time.time() - started):.1f} a second", flush=True)
    about = {"pictures": count, "every": arguments.every, "demos": [str(path) for path in arguments.demos]}
    (arguments.out / "drawn.json").write_text(json.dumps(about) + "\n")


if __name__ == "__main__":
    main()

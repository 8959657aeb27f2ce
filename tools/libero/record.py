"""
Records the expert: python record.py --out DIR [--episodes 100] [--tasks 0-9] [--processes 2]

Fresh scenes, states and actions alone; about 18 kB an episode. Goes on where it was stopped. DIR gets an .npz a solved
episode, and episodes.jsonl, a line for every one that was played. With --list FILE it plays nothing, and adds to FILE which scenes
are in DIR, which may also be dagger.py's, for test/test_scenes.py.
"""

import argparse
import json
import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path

from episodes import play
from scenes import SCATTERED, apart, plan, prompt_tasks, seeds
from simulator import TASKS, Simulator

LIST = "episodes.jsonl"
PIECE = 10
"""Episodes of a process."""


def record(task: int, chosen: list[int], out: Path) -> Iterator[dict]:
    """A line for each seed; those that are solved lie in `out`."""
    simulator = Simulator(task, joint_noise=True, cameras=False)
    named = prompt_tasks(task)
    for seed in chosen:
        started = time.time()
        simulator.fresh(seed)
        off = apart(simulator)
        line = {"task": task, "seed": seed, "apart": round(off, 5), "solved": False, "steps": 0}
        if off > SCATTERED:
            yield line
            continue
        asked = plan(task, seed, named[1] >= 0)
        try:
            next(play(simulator, asked, named))
            raise AssertionError("nobody learns here")
        except StopIteration as end:
            episode = end.value
        if episode.solved:
            episode.save(out / f"t{task}_{seed}.npz")
        yield line | {
            "bowl": episode.bowl,
            "solved": episode.solved,
            "steps": len(episode.state),
            "labelled": int(episode.labelled().sum()),
            "seconds": round(time.time() - started, 1),
        }
    simulator.close()


def work(job: tuple[int, list[int], Path]) -> list[dict]:
    lines = []
    for line in record(*job):
        lines.append(line)
        # One write of a short line: those of other processes do not come between.
        with open(job[2] / LIST, "a") as file:
            file.write(json.dumps(line) + "\n")
    return lines


def span(text: str) -> list[int]:
    """0-2,5 as [0, 1, 2, 5]."""
    ends = [part.partition("-") for part in text.split(",")]
    return [number for low, _, high in ends for number in range(int(low), int(high or low) + 1)]


def read_list(folder: Path) -> list[dict]:
    file = folder / LIST
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def add_scenes(folder: Path, file: Path) -> None:
    """By task, pairs of a seed and of how far its scene is from the benchmark's nearest; once each."""
    kept = json.loads(file.read_text())["scenes"] if file.exists() else {}
    scenes = {seed: (int(task), off) for task, rows in kept.items() for seed, off in rows}
    scenes |= {line["seed"]: (line["task"], line["apart"]) for line in read_list(folder) if line["solved"]}
    tasks: dict[int, list[tuple[int, float]]] = {task: [] for task in range(TASKS)}
    for seed, (task, off) in sorted(scenes.items()):
        tasks[task].append((seed, off))
    file.write_text(json.dumps({"scenes": tasks}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--episodes", type=int, default=100, help="of each task")
    parser.add_argument("--tasks", type=span, default=list(range(TASKS)))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--list", type=Path, help="takes the scenes of --out beside those that it has")
    arguments = parser.parse_args()
    if arguments.list:
        return add_scenes(arguments.out, arguments.list)
    arguments.out.mkdir(parents=True, exist_ok=True)
    played = {line["seed"] for line in read_list(arguments.out)}
    jobs = []
    # Small pieces, so that a set that was stopped has something of every task, and the last ones do not keep others waiting.
    for first in range(0, arguments.episodes, PIECE):
        for task in arguments.tasks:
            piece = seeds(task, arguments.episodes)[first : first + PIECE]
            if left := [seed for seed in piece if seed not in played]:
                jobs.append((task, left, arguments.out))
    started, steps, solved, count = time.time(), 0, 0, 0
    with multiprocessing.get_context("spawn").Pool(arguments.processes, maxtasksperchild=1) as pool:
        for lines in pool.imap_unordered(work, jobs):
            steps += sum(line["steps"] for line in lines)
            solved += sum(line["solved"] for line in lines)
            count += len(lines)
            seconds = time.time() - started
            print(f"{solved} of {count} solved, {steps} steps, {steps / seconds:.1f} a second", flush=True)


if __name__ == "__main__":
    main()

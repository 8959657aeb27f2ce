"""
One round of DAgger: python dagger.py --model FILE --tokenizer FILE --out DIR [--episodes 40] [--processes 16] [--minutes 4]

The learner leads the arm for stretches of an episode, with a delay or without, and the expert in between and at the end. Each time that
the learner is asked, what the expert would do from there is recorded, in the format of record.py: draw.py and train.py take both folders
together.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from episodes import GIVEN, Astray, Plan, play
from record import LIST, span
from scenes import FIRST_LEARNER_SEED, apart, prompt_tasks, seeds
from simulator import TASKS, Simulator
from simulators import ask, run

LED_STEPS = 140


def plan(task: int, seed: int) -> Plan:
    """Learner and expert by turns, and then the expert, who has the time to end it."""
    random = np.random.default_rng([seed, 0])
    astray, step = [], int(random.integers(0, 20))
    while step < LED_STEPS:
        length = int(random.integers(10, 81))
        astray.append(Astray(step, min(length, LED_STEPS - step), None))
        step += length + int(random.integers(8, 21))
    delay = int(random.integers(0, GIVEN + 1))
    return Plan(task=task, seed=seed, bowl=0, noise=0, astray=tuple(astray), counterfactuals=0, delay=delay)


def work(connection, task: int, chosen: list[int], out: Path) -> None:
    simulator = Simulator(task, joint_noise=True)
    named = prompt_tasks(task)
    for seed in chosen:
        simulator.fresh(seed)
        off = apart(simulator)
        episode = played(connection, play(simulator, plan(task, seed), named), task)
        if episode.solved:
            episode.save(out / f"t{task}_{seed}.npz")
        labelled = int(episode.labelled().sum()) + len(episode.branch_at)
        line = {"task": task, "seed": seed, "solved": episode.solved, "steps": len(episode.state)}
        connection.send({"result": line | {"labelled": labelled, "apart": round(off, 5)}})
    simulator.close()
    connection.close()


def played(connection, playing, task: int):
    """The episode, with the chunks that come over the connection."""
    try:
        observed = next(playing)
        while True:
            observed = playing.send(ask(connection, *observed, task))
    except StopIteration as end:
        return end.value


def main() -> None:
    # Not above: the simulators' processes import this file.
    from learner import Learner

    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--episodes", type=int, default=40, help="of each task")
    parser.add_argument("--tasks", type=span, default=list(range(TASKS)))
    parser.add_argument("--round", type=int, default=0, help="another round has other scenes")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--steps", type=int, default=10, help="denoise steps")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    learner = Learner(arguments.model, arguments.tokenizer, arguments.device, arguments.steps)
    first = FIRST_LEARNER_SEED + 100_000 * arguments.round
    pieces = max(1, round(arguments.processes / len(arguments.tasks)))
    jobs = []
    for piece in range(pieces):
        for task in arguments.tasks:
            jobs.append((task, seeds(task, arguments.episodes, first)[piece::pieces], arguments.out))
    solved, labelled, count = 0, 0, 0
    for line in run(learner, work, jobs, arguments.processes, 60 * arguments.minutes):
        with open(arguments.out / LIST, "a") as file:
            file.write(json.dumps(line) + "\n")
        solved, labelled, count = solved + line["solved"], labelled + line["labelled"] * line["solved"], count + 1
        print(f"{solved} of {count} episodes solved, {labelled} labelled steps", flush=True)


if __name__ == "__main__":
    main()

"""
Closed loop in PyTorch, for a look during training: python evaluate.py --model FILE --tokenizer FILE [--episodes 10] …

The benchmark's initial states. Without a delay five actions of a chunk; with one the world goes on for so many control steps while the
learner thinks, which is given what is carried out meanwhile. The figures that count are those of `npm run eval:libero`, which serves the
exported policy.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from episodes import GIVEN, Lead
from record import span
from simulator import STEP_LIMITS, SUITE, TASKS, Simulator
from simulators import ask, run


def work(connection, task: int, indices: list[int], delay: int) -> None:
    simulator = Simulator(task)
    for index in indices:
        simulator.benchmark(index)
        lead, solved, steps = Lead(delay), False, 0
        while steps < STEP_LIMITS[SUITE] and not solved:
            if lead.is_due:
                lead.take(ask(connection, simulator.drawn(), simulator.state(), lead.given(), task))
            solved = simulator.step(lead.next())
            steps += 1
        connection.send({"result": {"task": task, "episode": index, "solved": solved, "steps": steps}})
    simulator.close()
    connection.close()


def main() -> None:
    # Not above: the simulators' processes import this file.
    from learner import Learner

    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--episodes", type=int, default=10, help="of each task, at most 50")
    parser.add_argument("--tasks", type=span, default=list(range(TASKS)))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--steps", type=int, default=10, help="denoise steps")
    parser.add_argument("--delay", type=int, default=0, choices=range(GIVEN + 1), help="control steps")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="takes the results as JSON")
    arguments = parser.parse_args()
    learner = Learner(arguments.model, arguments.tokenizer, arguments.device, arguments.steps)
    pieces = max(1, round(arguments.processes / len(arguments.tasks)))
    jobs = []
    for piece in range(pieces):
        jobs += [(task, list(range(arguments.episodes))[piece::pieces], arguments.delay) for task in arguments.tasks]
    results = []
    for line in run(learner, work, [job for job in jobs if job[1]], arguments.processes, 60 * arguments.minutes):
        results.append(line)
        print(f"{sum(line['solved'] for line in results)} of {len(results)} solved", flush=True)
    by_task = defaultdict(list)
    for line in results:
        by_task[line["task"]].append(line)
    for task, lines in sorted(by_task.items()):
        taken = [line["steps"] for line in lines if line["solved"]]
        print(f"task {task}: {len(taken)}/{len(lines)}" + (f", {np.mean(taken):.0f} steps" if taken else ""))
    if arguments.out:
        arguments.out.write_text(json.dumps(results) + "\n")


if __name__ == "__main__":
    main()

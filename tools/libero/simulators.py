"""Simulators in other processes, and a learner in this one that answers those that wait together."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

import numpy as np


class Actor(Protocol):
    def act(self, pictures: np.ndarray, states: np.ndarray, tasks: list[int], given: list[np.ndarray]) -> np.ndarray:
        """
        Chunks [n, 10, 7] for pictures u8 [n, 2, 224, 224, 3], states [n, 8], the tasks whose prompts are given, and for each its
        first rows that are decided already, [k, 7].
        """
        ...


def ask(connection: Connection, pictures: np.ndarray, state: np.ndarray, given: np.ndarray, task: int) -> np.ndarray:
    """In a simulator's process: the chunk that the learner answers."""
    connection.send({"pictures": pictures, "state": state, "given": given, "task": task})
    return connection.recv()


def run(actor: Actor, target: Callable, jobs: list[tuple], processes: int, seconds: float) -> Iterator[Any]:
    """
    Yields what `target(connection, *job)` sends as {"result": …}, of all jobs, each in a process of its own. After `seconds`
    what still runs is ended.
    """
    context = multiprocessing.get_context("spawn")
    waiting, running = list(jobs), {}
    until = time.time() + seconds
    try:
        while (waiting or running) and time.time() < until:
            while waiting and len(running) < processes:
                ours, theirs = context.Pipe()
                process = context.Process(target=target, args=(theirs, *waiting.pop(0)), daemon=True)
                process.start()
                theirs.close()
                running[ours] = process
            asked: list[tuple[Connection, dict]] = []
            for connection in wait(list(running), timeout=1):
                try:
                    message = connection.recv()
                except EOFError:
                    process = running.pop(connection)
                    process.join()
                    if process.exitcode:
                        raise RuntimeError(f"a simulator ended with code {process.exitcode}") from None
                    continue
                if "result" in message:
                    yield message["result"]
                else:
                    asked.append((connection, message))
            if asked:
                pictures, states = (np.stack([m[key] for _, m in asked]) for key in ("pictures", "state"))
                tasks, given = ([message[key] for _, message in asked] for key in ("task", "given"))
                chunks = actor.act(pictures, states, tasks, given)
                for (connection, _), chunk in zip(asked, chunks):
                    connection.send(chunk)
    finally:
        for process in running.values():
            process.kill()

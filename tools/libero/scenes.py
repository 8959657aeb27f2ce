"""Which scenes are recorded, what happens in them, and that none is one of the benchmark's."""

import numpy as np

from episodes import Astray, Plan
from simulator import BOWLS, TASKS, Simulator, regions

FIRST_SEED, SEEDS_A_TASK = 1_000_000, 10_000
"""Fresh scenes of task t have the seeds from FIRST_SEED + t · SEEDS_A_TASK on. The benchmark's clients seed LIBERO with 7."""
FIRST_LEARNER_SEED = 2_000_000
"""The same for the scenes of the learner's rounds."""
APART = 0.001
"""Metres by which at least one object of a recorded scene is off its place in each of the benchmark's."""
SCATTERED = 0.1
"""Metres from the benchmark's nearest beyond which the sampler has put two things into each other, and they flew apart."""
OTHER_BOWL, LED_AT_FIRST, LED_LATER = 0.2, 0.5, 0.4
"""Shares of the episodes that mean the other bowl, begin in the middle, and are led astray on the way."""


def seeds(task: int, count: int, first: int = FIRST_SEED) -> list[int]:
    if count > SEEDS_A_TASK:
        raise ValueError(f"a task has {SEEDS_A_TASK} seeds, asked for {count}")
    return [first + task * SEEDS_A_TASK + index for index in range(count)]


def plan(task: int, seed: int, other_has_prompt: bool) -> Plan:
    """What the seed wants to happen with the expert alone."""
    random = np.random.default_rng([seed, 0])
    astray = []
    if random.random() < LED_AT_FIRST:
        astray.append(Astray(0, int(random.integers(4, 21)), wandering(random)))
    if random.random() < LED_LATER:
        astray.append(Astray(int(random.integers(25, 100)), int(random.integers(4, 13)), wandering(random)))
    return Plan(
        task=task,
        seed=seed,
        bowl=int(other_has_prompt and random.random() < OTHER_BOWL),
        noise=float(random.choice([0, 0.15, 0.3], p=[0.2, 0.5, 0.3])),
        astray=tuple(astray),
        counterfactuals=2 if other_has_prompt else 0,
        tried=8,
    )


def wandering(random: np.random.Generator) -> np.ndarray:
    """Somewhere, rather up than down, the wrist turning a little, the fingers open or closed."""
    move = random.uniform([-1, -1, -0.5], [1, 1, 1])
    return np.concatenate((move, random.uniform(-0.1, 0.1, 3), [random.choice([-1, 1])]))


def prompt_tasks(task: int) -> tuple[int, int]:
    """Tasks whose prompts mean the first and the second bowl of the task's scenes; −1 where none does."""
    first, second = BOWLS
    named = {regions(other)[first]: other for other in range(TASKS)}
    return task, named.get(regions(task)[second], -1)


def object_places(simulator: Simulator, states: np.ndarray) -> np.ndarray:
    """Where flattened states [n, size] have the objects, in the plane: [n, objects, 2]."""
    places = []
    for thing in simulator.inner.objects_dict.values():
        start, _ = simulator.sim.model.get_joint_qpos_addr(thing.joints[0])
        # The first number of a state is the time.
        places.append(states[:, 1 + start : 3 + start])
    return np.stack(places, 1)


def apart(simulator: Simulator) -> float:
    """
    How far the scene is from the benchmark's nearest: metres by which the object that is off most is off, in the plane.
    """
    here = object_places(simulator, simulator.sim.get_state().flatten()[None])
    off = np.abs(object_places(simulator, simulator.initial_states()) - here)
    return float(off.max((1, 2)).min())

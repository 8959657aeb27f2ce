"""
One recorded episode: the expert acts, somebody else leads the arm astray at times, and what the expert would do is written
down beside every state. Nothing is drawn; pictures are made from the states later.
"""

import copy
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from expert import Expert
from simulator import BOWLS, Simulator

HORIZON = 10
LIMIT = 240
"""Control steps after which an episode has failed."""
EXECUTED = 5
"""Actions of the learner's chunk that are carried out before it is asked again, as openpi's client does it."""
GIVEN = 4
"""Most rows of a chunk that a network is given, as what is carried out while it is asked (real-time chunking)."""
TRIED_STEPS = 100
"""What follows rows that are not the expert's is tried within the first steps; most episodes are as long."""
COUNTERFACTUAL_STEPS = 40
"""The other bowl is asked for within the first steps, as long as the right one lies where it lay."""
DRIFT_MEMORY, DRIFT_GAIN = 0.8, 0.6
TRIED_NOISE, TRIED_FINGERS = 0.4, 0.1
"""Of rows that are tried as given ones: by how much they are off what the expert wants, and how often the fingers are the other way."""


@dataclass(frozen=True)
class Astray:
    """A stretch of steps in which somebody else acts: `action` in all of them, or the learner when it is None."""

    start: int
    length: int
    action: np.ndarray | None


@dataclass
class Episode:
    """T steps. Arrays of doubles become float32 in the file."""

    task: int
    seed: int
    bowl: int
    """Index in BOWLS of the one that the prompt means."""
    prompt_task: int
    """The task whose prompt it is."""
    solved: bool
    fixtures: np.ndarray
    """[n, 7]"""
    qpos: np.ndarray
    """[T, n]"""
    state: np.ndarray
    """[T, 8], as policies are told it"""
    things: np.ndarray
    """[T, 3, 3]: both bowls and the plate"""
    actions: np.ndarray
    """[T + HORIZON, 7]: the expert's answers; those of the last HORIZON steps are after success"""
    carried_out: np.ndarray
    """[T + HORIZON, 7]: what the arm was told: the answer with a drift over it, or what somebody else wanted"""
    by_expert: np.ndarray
    """[T + HORIZON], whether the expert's answer was carried out"""
    branch_at: np.ndarray
    """[k]: steps from which the expert was also tried with something else, after which the episode went on as if nothing had been"""
    branch_bowl: np.ndarray
    """[k], index in BOWLS of the one that it was asked for"""
    branch_given: np.ndarray
    """[k]: the first rows that were not the expert's, at most GIVEN"""
    branch_actions: np.ndarray
    """[k, HORIZON, 7]: the expert's answers"""
    branch_carried_out: np.ndarray
    """[k, HORIZON, 7]: what the arm was told, those rows and then the expert's answers"""
    other_task: int
    """The task whose prompt names the other bowl; −1 where none does"""

    def own(self) -> np.ndarray:
        """[T]: rows of the chunk that begins there up to the last that the expert did not carry out; 0 where it carried out all."""
        others = ~np.lib.stride_tricks.sliding_window_view(self.by_expert, HORIZON)[: len(self.state)]
        return np.where(others.any(1), HORIZON - others[:, ::-1].argmax(1), 0)

    def labelled(self) -> np.ndarray:
        """[T], where the expert carried out all of the chunk that begins there but for rows that a network can be given."""
        return self.own() <= GIVEN

    def save(self, path: Path) -> None:
        fields = {name: np.asarray(value) for name, value in vars(self).items()}
        half = {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in fields.items()}
        np.savez_compressed(path, **half)

    @classmethod
    def read(cls, path: Path) -> "Episode":
        with np.load(path) as file:
            return cls(**{name: file[name] if file[name].shape else file[name].item() for name in file.files})


@dataclass(frozen=True)
class Plan:
    """What is to happen in an episode."""

    task: int
    seed: int
    bowl: int
    noise: float
    """Strength of the drift that is laid over what the expert does, in actions."""
    astray: tuple[Astray, ...]
    counterfactuals: int
    tried: int = 0
    """Times that the expert is asked what it does after a few rows that are not its own."""
    delay: int = 0
    """Control steps from what the learner is shown to the first row of its answer that is carried out, at most GIVEN."""


class Lead:
    """The learner's rows as a robot plays them that goes on while it waits for the next chunk."""

    def __init__(self, delay: int):
        self._delay, self._rows, self._carried_out = delay, [], 0

    @property
    def is_due(self) -> bool:
        """Whether the next chunk is to be asked for: with a delay as soon as the one before is there."""
        return not self._rows or self._carried_out >= (self._delay or EXECUTED)

    def given(self) -> np.ndarray:
        """[delay, 7], what is carried out until the answer is there; none at first, when the robot waits for it."""
        return np.array(self._rows[: self._delay]).reshape(-1, 7)

    def take(self, chunk: np.ndarray) -> None:
        given = self._rows[: self._delay]
        self._rows, self._carried_out = given + list(chunk[len(given) :]), 0

    def next(self) -> np.ndarray:
        self._carried_out += 1
        return self._rows.pop(0)


@dataclass(frozen=True)
class Branch:
    """What the expert does from a step on for a bowl, after `given` rows that are not its own; both [HORIZON, 7]."""

    at: int
    bowl: int
    given: int
    actions: np.ndarray
    carried_out: np.ndarray


Observed = tuple[np.ndarray, np.ndarray, np.ndarray]
"""What the learner is told: pictures u8 [2, 224, 224, 3], state [8], and the rows [n, 7] that are carried out meanwhile."""
Play = Generator[Observed, np.ndarray, Episode]


def play(simulator: Simulator, plan: Plan, prompt_tasks: tuple[int, int]) -> Play:
    """
    Plays an episode from where the simulator is. Where the learner leads it yields what that is told, and is sent a chunk of actions;
    what the expert would do after the rows given is tried each time. `prompt_tasks`: the tasks whose prompts mean the first and the second
    bowl, or −1.
    """
    random = np.random.default_rng([plan.seed, 1])
    bowl, other = BOWLS[plan.bowl], BOWLS[1 - plan.bowl]
    branches: list[Branch] = []
    expert = Expert(simulator, bowl)
    fixtures, lying = simulator.fixtures(), simulator.position(bowl)
    rows, actions, told, by_expert = [], [], [], []
    asked = set(random.choice(COUNTERFACTUAL_STEPS, plan.counterfactuals, replace=False).tolist())
    tried = set(random.choice(TRIED_STEPS, plan.tried, replace=False).tolist())
    drift, lead, solved = np.zeros(3), Lead(plan.delay), False
    for step in range(LIMIT):
        answer = expert.act()
        rows.append((np.array(simulator.sim.data.qpos), simulator.state(), simulator.things()))
        actions.append(answer)
        if step in asked and np.linalg.norm(simulator.position(bowl) - lying) < 0.01:
            branches.append(branch(simulator, Expert(simulator, other), step, 1 - plan.bowl))
        if step in tried:
            branches.append(branch(simulator, expert, step, plan.bowl, off(answer, random)))
        astray = next((a for a in plan.astray if a.start <= step < a.start + a.length), None)
        by_expert.append(astray is None)
        if astray is None:
            lead = Lead(plan.delay)
            drift = DRIFT_MEMORY * drift + DRIFT_GAIN * plan.noise * random.normal(size=3)
            # Less where the hand must be exact.
            exact = np.clip(4 * np.linalg.norm(answer[:2]), 0.15, 1)
            carried_out = np.concatenate((np.clip(answer[:3] + drift * exact, -1, 1), answer[3:]))
        elif astray.action is not None:
            carried_out = astray.action
        else:
            if lead.is_due:
                given = lead.given()
                branches.append(branch(simulator, expert, step, plan.bowl, given))
                lead.take((yield simulator.drawn(), rows[-1][1], given))
            carried_out = lead.next()
        told.append(carried_out)
        simulator.step(carried_out)
        solved = simulator.solved(bowl)
        if solved:
            break
    for _ in range(HORIZON):
        actions.append(expert.act())
        told.append(actions[-1])
        by_expert.append(True)
        simulator.step(actions[-1])
    qpos, state, things = (np.stack(column) for column in zip(*rows))
    return Episode(
        task=plan.task,
        seed=plan.seed,
        bowl=plan.bowl,
        prompt_task=prompt_tasks[plan.bowl],
        solved=solved,
        fixtures=fixtures,
        qpos=qpos,
        state=state,
        things=things,
        actions=np.stack(actions),
        carried_out=np.stack(told),
        by_expert=np.array(by_expert),
        branch_at=np.array([b.at for b in branches], int),
        branch_bowl=np.array([b.bowl for b in branches], int),
        branch_given=np.array([b.given for b in branches], int),
        branch_actions=np.array([b.actions for b in branches]).reshape(-1, HORIZON, 7),
        branch_carried_out=np.array([b.carried_out for b in branches]).reshape(-1, HORIZON, 7),
        other_task=prompt_tasks[1 - plan.bowl],
    )


def off(answer: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A few rows like the expert's answer, but not quite, as a network might have planned them, [n, 7]."""
    row = answer.copy()
    row[:3] = np.clip(row[:3] + TRIED_NOISE * random.normal(size=3), -1, 1)
    if random.random() < TRIED_FINGERS:
        row[6] = -row[6]
    return np.tile(row, (int(random.integers(1, GIVEN + 1)), 1))


def branch(simulator: Simulator, expert: Expert, step: int, bowl: int, given: np.ndarray = np.zeros((0, 7))) -> Branch:
    """Tries what `expert` does from here after the rows given, and leaves it and the simulator as they were."""
    here, expert = simulator.save(), copy.copy(expert)
    actions, told = [], []
    for row in range(HORIZON):
        actions.append(expert.act())
        told.append(given[row] if row < len(given) else actions[-1])
        simulator.step(told[-1])
    simulator.load(here)
    return Branch(step, bowl, len(given), np.stack(actions), np.stack(told))

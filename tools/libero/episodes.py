"""
One recorded episode: the expert acts, somebody else leads the arm astray at times, and what the expert would do is written
down beside every state. Nothing is drawn; pictures are made from the states later.
"""

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
COUNTERFACTUAL_STEPS = 40
"""The other bowl is asked for within the first steps, as long as the right one lies where it lay."""
DRIFT_MEMORY, DRIFT_GAIN = 0.8, 0.6


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
    counterfactual_at: np.ndarray
    """[k]: steps at which the expert was also asked for the other bowl"""
    counterfactual_actions: np.ndarray
    """[k, HORIZON, 7]"""
    counterfactual_task: int
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


Observed = tuple[np.ndarray, np.ndarray]
"""What the learner is shown: pictures u8 [2, 224, 224, 3] and state [8]."""
Play = Generator[Observed, np.ndarray, Episode]


def play(simulator: Simulator, plan: Plan, prompt_tasks: tuple[int, int]) -> Play:
    """
    Plays an episode from where the simulator is. Where the learner leads it yields what that observes, and is sent a chunk of actions,
    of which it carries out EXECUTED. `prompt_tasks`: the tasks whose prompts mean the first and the second bowl, or −1.
    """
    random = np.random.default_rng([plan.seed, 1])
    bowl, other = BOWLS[plan.bowl], BOWLS[1 - plan.bowl]
    expert = Expert(simulator, bowl)
    fixtures, lying = simulator.fixtures(), simulator.position(bowl)
    rows, actions, told, by_expert, counterfactuals = [], [], [], [], {}
    asked = set(random.choice(COUNTERFACTUAL_STEPS, plan.counterfactuals, replace=False).tolist())
    drift, chunk, solved = np.zeros(3), [], False
    for step in range(LIMIT):
        answer = expert.act()
        rows.append((np.array(simulator.sim.data.qpos), simulator.state(), simulator.things()))
        actions.append(answer)
        if step in asked and np.linalg.norm(simulator.position(bowl) - lying) < 0.01:
            counterfactuals[step] = branch(simulator, other)
        astray = next((a for a in plan.astray if a.start <= step < a.start + a.length), None)
        by_expert.append(astray is None)
        if astray is None:
            chunk = []
            drift = DRIFT_MEMORY * drift + DRIFT_GAIN * plan.noise * random.normal(size=3)
            # Less where the hand must be exact.
            exact = np.clip(4 * np.linalg.norm(answer[:2]), 0.15, 1)
            carried_out = np.concatenate((np.clip(answer[:3] + drift * exact, -1, 1), answer[3:]))
        elif astray.action is not None:
            carried_out = astray.action
        else:
            if not chunk:
                chunk = list((yield simulator.drawn(), rows[-1][1])[:EXECUTED])
            carried_out = chunk.pop(0)
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
        counterfactual_at=np.array(list(counterfactuals), int),
        counterfactual_actions=np.array(list(counterfactuals.values())).reshape(-1, HORIZON, 7),
        counterfactual_task=prompt_tasks[1 - plan.bowl],
    )


def branch(simulator: Simulator, bowl: str) -> np.ndarray:
    """What the expert would do from here if the prompt meant `bowl`, [HORIZON, 7]."""
    here = simulator.save()
    expert, actions = Expert(simulator, bowl), []
    for _ in range(HORIZON):
        actions.append(expert.act())
        simulator.step(actions[-1])
    simulator.load(here)
    return np.stack(actions)

"""Actions by the tick that they are for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..chunk import ActionChunk

Action = npt.NDArray[np.floating[Any]]
"""[action_size], in the robot's action space."""


@dataclass(frozen=True)
class Plan:
    start: int
    """Tick of the first row: that of the observation that the chunk answers."""
    actions: npt.NDArray[np.floating[Any]]
    """[horizon, action_size]"""
    chunk: ActionChunk

    @property
    def end(self) -> int:
        """The first tick that the plan has no action for."""
        return self.start + len(self.actions)

    def action_at(self, tick: int) -> Action | None:
        return self.actions[tick - self.start] if self.start <= tick < self.end else None


def blended(old: Plan, new: Plan, start: int, ticks: int, continuous: Sequence[bool] | None) -> Plan:
    """
    `new` with its rows from tick `start` on led over from `old`: of each row that both have, a share goes to `new` that
    grows evenly over `ticks`. Only dimensions that `continuous` names are led over (all, when absent): half of an open
    gripper is no command.
    """
    actions = new.actions.copy()
    led = np.ones(actions.shape[1], dtype=bool) if continuous is None else np.asarray(continuous, dtype=bool)
    for tick in range(max(start, new.start), min(start + ticks, new.end)):
        before = old.action_at(tick)
        if before is None:
            continue
        row = actions[tick - new.start]
        share = (tick - start + 1) / (ticks + 1)
        row[led] = before[led] + share * (row[led] - before[led])
    return replace(new, actions=actions)

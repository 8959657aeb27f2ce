"""What a client can do wrong, each by a name of eval/mutations.ts."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Fault:
    pictures: Callable = lambda base, wrist: (base, wrist)
    state: Callable = lambda state: state
    action: Callable = lambda action: action


def turned(*pictures: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(np.ascontiguousarray(picture[::-1, ::-1]) for picture in pictures)


def other_units(state: np.ndarray) -> np.ndarray:
    """Millimetres and degrees."""
    return np.concatenate((1000 * state[:3], np.degrees(state[3:6]), 1000 * state[6:]))


def bgr(*pictures: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(np.ascontiguousarray(picture[..., ::-1]) for picture in pictures)


FAULTS = {
    "none": Fault(),
    "swapped-cameras": Fault(pictures=lambda base, wrist: (wrist, base)),
    "unrotated-images": Fault(pictures=turned),
    "bgr-images": Fault(pictures=bgr),
    "black-wrist-camera": Fault(pictures=lambda base, wrist: (base, np.zeros_like(wrist))),
    "state-in-other-units": Fault(state=other_units),
    "inverted-gripper": Fault(action=lambda action: np.concatenate((action[:6], -action[6:]))),
}

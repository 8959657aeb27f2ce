"""
A scripted expert for LIBERO-Spatial that sees the simulator's state: it takes the bowl by the rim and puts it on the plate.

It answers every state by itself, without a memory of phases, so that it can also say what to do where somebody else has
led the arm. Actions are LIBERO's: displacements of the hand in units of 5 cm and 0.5 rad, 7 numbers, the last −1 to open
the fingers and 1 to close them.
"""

import mujoco
import numpy as np

from simulator import BOWLS, PLATE, Simulator

RIM = 0.050
"""Radius of the bowl's wall where the fingers take it, in metres as all lengths here."""
GRASP_HEIGHT = 0.036
"""Of the fingers over the bowl's origin when they close."""
SHOULDER = np.array([-0.66, 0, 1.245])
DOWN = np.diag([1.0, -1.0, -1.0])
"""The hand straight down, its fingers opening along the world's y."""
MOVED = 0.02
"""A bowl that lies further than this from where its side was chosen has its side chosen anew."""


class Expert:
    def __init__(self, simulator: Simulator, bowl: str = BOWLS[0]):
        self.simulator, self.bowl_name = simulator, bowl
        self.choose()

    def choose(self) -> None:
        """On which side of the bowl to take the rim, as it lies now."""
        bowl = self.simulator.position(self.bowl_name)
        self._chosen_at = bowl
        self._side = self._best_side(bowl)
        yaw = np.arctan2(self._side[1], self._side[0]) - np.pi / 2
        # The fingers are alike: the wrist turns by 90 degrees at most.
        self._yaw = yaw - np.pi * np.round(yaw / np.pi)

    def act(self) -> np.ndarray:
        hand, bowl, plate = self._grip(), self.simulator.position(self.bowl_name), self.simulator.position(PLATE)
        width = self._fingers("qpos")
        held = width < 0.03 and self._is_held()
        if not held and np.linalg.norm(bowl - self._chosen_at) > MOVED and self._is_at_rest():
            self.choose()
        on_plate = np.linalg.norm((bowl - plate)[:2]) < 0.025 and bowl[2] - plate[2] < 0.03
        if held:
            goal, closed = self._carry(hand, bowl, plate), True
            # It touches: the fingers may open.
            if on_plate and np.linalg.norm((bowl - plate)[:2]) <= 0.015:
                closed = False
        elif on_plate:
            goal, closed = hand + [0, 0, 0.10], False
        else:
            goal, closed = self._reach(hand, bowl, width)
        return self._action(hand, goal, closed)

    def _carry(self, hand: np.ndarray, bowl: np.ndarray, plate: np.ndarray) -> np.ndarray:
        """Straight up, across, and down until the bowl touches the plate."""
        offset = hand - bowl
        far = np.linalg.norm((bowl - plate)[:2])
        lifted = self._chosen_at[2]
        height = max(plate[2] + 0.09, min(lifted + 0.10, bowl[2] + 0.10) if far > 0.10 else 0)
        if bowl[2] < min(lifted + 0.05, height - 0.02) and far > 0.05:
            return hand + [0, 0, 0.12]
        over = plate + offset
        return np.array([over[0], over[1], (height if far > 0.015 else plate[2]) + offset[2]])

    def _reach(self, hand: np.ndarray, bowl: np.ndarray, width: float) -> tuple[np.ndarray, bool]:
        """Through a funnel over the rim, which is wide above and narrow where the fingers must be exact."""
        grasp = np.array([*(bowl[:2] + self._side * RIM), bowl[2] + GRASP_HEIGHT])
        beside, above = np.linalg.norm((hand - grasp)[:2]), hand[2] - grasp[2]
        if beside > 0.012 + 0.25 * max(0.0, above - 0.02):
            goal = np.array([grasp[0], grasp[1], max(grasp[2] + 0.10, min(hand[2], grasp[2] + 0.14))])
            # Too low to go across: up first.
            if above < 0.05 and beside > 0.02:
                goal[:2] = hand[:2]
            return goal, False
        closes = (above < 0.016 and beside < 0.015) or (width < 0.06 and above < 0.024)
        return grasp, closes

    def _action(self, hand: np.ndarray, goal: np.ndarray, closed: bool) -> np.ndarray:
        name = self.simulator.inner.robots[0].robot_model.eef_name
        rotation = np.array(self.simulator.sim.data.get_body_xmat(name)).reshape(3, 3)
        action = np.zeros(7)
        action[:3] = np.clip((goal - hand) / 0.05, -1, 1)
        action[3:6] = np.clip(rotation_vector(self._hand_rotation(hand) @ rotation.T) / 0.5, -0.5, 0.5)
        action[6] = 1 if closed else -1
        return action

    def _hand_rotation(self, at: np.ndarray) -> np.ndarray:
        """Down, turned by the chosen yaw, and leaning outward where the arm would else be at full stretch."""
        reach = np.linalg.norm((at - SHOULDER)[:2]) - 0.088
        lean = np.clip((np.hypot(reach, at[2] + 0.21 - SHOULDER[2]) - 0.60) / 0.20, 0, 0.45)
        c, s = np.cos(self._yaw), np.sin(self._yaw)
        turned = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ DOWN
        c, s = np.cos(-lean), np.sin(-lean)
        return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) @ turned

    def _best_side(self, bowl: np.ndarray) -> np.ndarray:
        """Where fingers and hand go down freely; of those with the least turn of the wrist, then the nearest. A unit vector."""
        costs = {}
        for step in range(24):
            angle = np.pi / 2 + step * np.pi / 12
            out = np.array([np.cos(angle), np.sin(angle)])
            turn = abs((angle - np.pi / 2 + np.pi / 2) % np.pi - np.pi / 2)
            near = np.linalg.norm(bowl[:2] + out * RIM - SHOULDER[:2])
            costs[tuple(out)] = 1000 * self._obstacles(bowl, out) + turn + 0.5 * near
        return np.array(min(costs, key=costs.__getitem__))

    def _obstacles(self, bowl: np.ndarray, out: np.ndarray) -> float:
        """How much stands in the way of the outer finger and of the hand above it, as a sum of heights."""
        along = np.array([-out[1], out[0]])
        at, height = bowl[:2] + out * RIM, bowl[2] + GRASP_HEIGHT
        places = [(u, v, 0.12, -0.022) for u in (0.026, 0.045, 0.064) for v in (-0.016, 0, 0.016)]
        places += [(u, v, 0.20, 0.045) for u in (-0.10, -0.05, 0.05, 0.10) for v in (-0.035, 0.035)]
        total = 0.0
        for u, v, start, free in places:
            x, y = at + out * u + along * v
            total += max(0.0, self._height(x, y, height + start) - (height + free))
        return total

    def _height(self, x: float, y: float, below: float) -> float:
        """How high things stand at (x, y), without the bowl and what is above `below`."""
        sim, hit = self.simulator.sim, np.zeros(1, np.int32)
        groups = np.array([1, 0, 0, 0, 0, 0], np.uint8)
        bowl = self.simulator.inner.obj_body_id[self.bowl_name]
        start, down = np.array([x, y, below]), np.array([0, 0, -1.0])
        distance = mujoco.mj_ray(sim.model._model, sim.data._data, start, down, groups, 1, bowl, hit)
        return below - distance if distance >= 0 else 0.0

    def _grip(self) -> np.ndarray:
        return np.array(self.simulator.sim.data.site_xpos[self.simulator.inner.robots[0].eef_site_id])

    def _fingers(self, what: str) -> float:
        """How far apart they are, or how fast they part."""
        robot = self.simulator.inner.robots[0]
        index = getattr(robot, f"_ref_gripper_joint_{'pos' if what == 'qpos' else 'vel'}_indexes")
        first, second = getattr(self.simulator.sim.data, what)[index]
        return float(first - second)

    def _is_held(self) -> bool:
        near = np.linalg.norm(self._grip() - self.simulator.position(self.bowl_name)) < 0.08
        if near and 0.004 < self._fingers("qpos") < 0.03 and abs(self._fingers("qvel")) < 0.01:
            # Something keeps the fingers from closing further.
            return True
        inner = self.simulator.inner
        geoms = inner.robots[0].gripper.important_geoms
        fingers = [geoms["left_finger"], geoms["right_finger"]]
        return inner._check_grasp(gripper=fingers, object_geoms=inner.get_object(self.bowl_name))

    def _is_at_rest(self) -> bool:
        body = self.simulator.inner.obj_body_id[self.bowl_name]
        return np.linalg.norm(self.simulator.sim.data.cvel[body][3:]) < 0.05


def rotation_vector(rotation: np.ndarray) -> np.ndarray:
    """Of a matrix whose angle is well below pi."""
    cosine = np.clip((np.trace(rotation) - 1) / 2, -1, 1)
    angle = np.arccos(cosine)
    axis = np.array(
        [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
    )
    return axis * (0.5 if angle < 1e-6 else angle / (2 * np.sin(angle)))

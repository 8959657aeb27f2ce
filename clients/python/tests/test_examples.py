"""The examples against a real server, with a robot and a simulator that are made up: they have LeRobot's and LIBERO's methods."""

import importlib.util
import pathlib
import subprocess
import sys
import threading
import unittest

import numpy as np

import turbo_pi_client as tp
from turbo_pi_client.openpi import WebsocketClientPolicy

from .support import server_port

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class MadeUpRobot:
    observation_features = {f"joint_{joint}.pos": float for joint in range(8)} | {"front": (48, 64, 3)}
    action_features = {f"joint_{joint}.pos": float for joint in range(7)}

    def __init__(self, enough):
        self.actions, self._enough = [], enough

    def get_observation(self):
        return {f"joint_{joint}.pos": joint / 10 for joint in range(8)} | {"front": np.zeros((48, 64, 3), np.uint8)}

    def send_action(self, action):
        self.actions.append(action)
        if len(self.actions) == 20:
            self._enough.set()


class MadeUpSimulator:
    def __init__(self):
        self.actions = []

    def _seen(self):
        image = np.zeros((64, 64, 3), np.uint8)
        return {
            "agentview_image": image,
            "robot0_eye_in_hand_image": image,
            "robot0_eef_pos": np.zeros(3),
            "robot0_eef_quat": np.array([0.0, 0.0, 0.0, 1.0]),
            "robot0_gripper_qpos": np.zeros(2),
        }

    def reset(self):
        self.actions = []

    def set_init_state(self, state):
        return self._seen()

    def step(self, action):
        self.actions.append(action)
        return self._seen(), 0.0, len(self.actions) == 22, {}


class Examples(unittest.TestCase):
    def test_the_first_chunk(self):
        command = [sys.executable, str(EXAMPLES / "first_chunk.py"), f"127.0.0.1:{server_port()}"]
        told = subprocess.run(command, capture_output=True, text=True, timeout=60)
        self.assertRegex(told.stdout, r"^10 actions of 7 numbers, \d+ ms old\n$", told.stderr)

    def test_a_robot_of_lerobot_is_driven(self):
        loop = example("lerobot_loop")
        stop = threading.Event()
        robot = MadeUpRobot(stop)
        cameras = {"front": "observation/image"}

        def observe():
            seen = loop.observation_of(robot, cameras, "observation/state", "prompt", "pick up the red block")
            return {**seen, "observation/wrist_image": seen["observation/image"]}

        with tp.TurboPiClient.connect(f"127.0.0.1:{server_port()}") as client:
            loop.drive(robot, client, observe, hertz=50, strategy="rtc", deadline_ms=10_000, stop=stop)
        self.assertEqual(len(robot.actions), 20)
        self.assertEqual(set(robot.actions[0]), set(robot.action_features))
        self.assertEqual(loop.nested({"cameras.front": 1, "cameras.hand": 2}), {"cameras": {"front": 1, "hand": 2}})

    def test_an_episode_of_libero_is_played(self):
        loop = example("libero_loop")
        simulator = MadeUpSimulator()
        with WebsocketClientPolicy("127.0.0.1", server_port()) as policy:
            self.assertTrue(loop.episode(policy, simulator, None, "pick up the red block", 50))
            self.assertEqual(len(simulator.actions), 22)
            self.assertFalse(loop.episode(policy, simulator, None, "pick up the red block", 5))
        half_turn = loop.axis_angle([0, 0, 1, 0])
        np.testing.assert_allclose(half_turn, [0, 0, np.pi])

"""The scenes that are trained on are none of the benchmark's, and the same seeds make them again."""

import json
import sys
import unittest
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from scenes import APART, FIRST_LEARNER_SEED, FIRST_SEED, SEEDS_A_TASK, apart, seeds  # noqa: E402
from simulator import TASKS, Simulator, objects  # noqa: E402

RECORDED = HERE.parent / "recorded.json"


class RecordedSeeds(unittest.TestCase):
    """What is kept for training: by task, pairs of a seed and of how far its scene is from the benchmark's nearest."""

    @classmethod
    def setUpClass(cls):
        cls.recorded = {int(task): rows for task, rows in json.loads(RECORDED.read_text())["scenes"].items()}

    def test_every_scene_is_off_every_one_of_the_benchmarks(self):
        for task, rows in self.recorded.items():
            for seed, off in rows:
                self.assertGreater(off, APART, f"task {task}, seed {seed}")

    def test_seeds_are_those_of_recorder_and_learner_and_each_is_used_once(self):
        used = [seed for rows in self.recorded.values() for seed, _ in rows]
        self.assertEqual(len(used), len(set(used)))
        for task, rows in self.recorded.items():
            own = [first + task * SEEDS_A_TASK for first in (FIRST_SEED, FIRST_LEARNER_SEED)]
            self.assertTrue(all(any(first <= seed < first + SEEDS_A_TASK for first in own) for seed, _ in rows))

    def test_scenes_made_again_are_as_far_off_as_was_recorded(self):
        task = min(self.recorded)
        simulator = Simulator(task, joint_noise=True, cameras=False)
        self.addCleanup(simulator.close)
        for seed, off in self.recorded[task][-3:]:
            simulator.fresh(seed)
            self.assertAlmostEqual(apart(simulator), off, 4, f"seed {seed}")


class Scenes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.simulator = Simulator(0, joint_noise=True, cameras=False)
        cls.addClassCleanup(cls.simulator.close)

    def test_a_seed_makes_one_scene_whatever_was_before(self):
        first, second = seeds(0, 2)
        scenes = []
        for seed in (first, second, first):
            self.simulator.fresh(seed)
            scenes.append(np.concatenate((self.simulator.sim.data.qpos, self.simulator.fixtures().ravel())))
        np.testing.assert_array_equal(scenes[0], scenes[2])
        self.assertGreater(np.abs(scenes[0] - scenes[1]).max(), 0.001)

    def test_one_of_the_benchmarks_own_scenes_is_seen_to_be_one(self):
        for index in (0, 49):
            self.simulator.benchmark(index)
            self.assertLess(apart(self.simulator), APART)

    def test_one_simulator_can_show_the_scenes_of_every_task(self):
        self.assertEqual(len({tuple(objects(task)) for task in range(TASKS)}), 1)

    def test_every_task_has_its_own_seeds(self):
        every = [seed for task in range(TASKS) for seed in seeds(task, SEEDS_A_TASK)]
        self.assertEqual(len(every), len(set(every)))


if __name__ == "__main__":
    unittest.main()

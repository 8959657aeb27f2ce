"""What is recorded of an episode, and that it can be shown again."""

import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

import frames  # noqa: E402
from episodes import EXECUTED, HORIZON, Astray, Episode, Lead, Plan, branch, play  # noqa: E402
from expert import Expert  # noqa: E402
from scenes import plan, prompt_tasks, seeds  # noqa: E402
from simulator import BOWLS, STAND_STILL, Simulator  # noqa: E402

TASK = 2


def finished(playing) -> Episode:
    try:
        next(playing)
    except StopIteration as end:
        return end.value
    raise AssertionError("the learner was asked")


class Episodes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.simulator = Simulator(TASK, joint_noise=True)
        cls.addClassCleanup(cls.simulator.close)
        cls.seed = seeds(TASK, 1)[0]
        cls.simulator.fresh(cls.seed)
        astray = Astray(10, 5, np.array([0.5, 0.5, 1, 0, 0, 0, 1]))
        asked = Plan(task=TASK, seed=cls.seed, bowl=0, noise=0.15, astray=(astray,), counterfactuals=2)
        cls.episode = finished(play(cls.simulator, asked, prompt_tasks(TASK)))

    def test_the_expert_solves_a_fresh_scene_from_which_it_was_led_astray(self):
        self.assertTrue(self.episode.solved)
        self.assertLess(len(self.episode.state), 200)

    def test_a_chunk_that_somebody_else_had_a_part_in_is_no_label(self):
        own = self.episode.own()
        np.testing.assert_array_equal(np.flatnonzero(own), range(10 - HORIZON + 1, 15))

    def test_a_chunk_whose_first_rows_somebody_else_carried_out_is_a_label_of_the_others(self):
        own, labelled = self.episode.own(), self.episode.labelled()
        np.testing.assert_array_equal(own[10:16], [5, 4, 3, 2, 1, 0])
        np.testing.assert_array_equal(labelled[10:16], [False, True, True, True, True, True])

    def test_what_the_arm_was_told_is_the_answer_with_a_drift_or_what_somebody_else_wanted(self):
        told, answers = self.episode.carried_out, self.episode.actions
        np.testing.assert_array_equal(told[10:15], np.tile([0.5, 0.5, 1, 0, 0, 0, 1], (5, 1)))
        np.testing.assert_array_equal(told[:10, 3:], answers[:10, 3:])
        drift = np.abs(told - answers)[:10, :3]
        self.assertGreater(drift.max(), 0)
        self.assertLess(drift.max(), 1)
        np.testing.assert_array_equal(told[-HORIZON:], answers[-HORIZON:])

    def test_the_other_bowl_has_other_actions_and_its_own_prompt(self):
        self.assertGreater(len(self.episode.branch_at), 0)
        self.assertEqual(set(self.episode.branch_bowl), {1})
        self.assertNotEqual(self.episode.other_task, self.episode.prompt_task)
        for step, chunk in zip(self.episode.branch_at, self.episode.branch_actions):
            own = self.episode.actions[step : step + HORIZON]
            self.assertGreater(np.abs(chunk - own)[:, :3].max(), 0.1)

    def test_an_episode_does_not_end_by_the_steps_that_were_tried(self):
        self.simulator.fresh(self.seed)
        self.simulator.inner.timestep = 10_000
        for _ in range(2):
            self.assertFalse(self.simulator.step(STAND_STILL))

    def test_asking_for_the_other_bowl_leaves_the_scene_as_it_was(self):
        self.simulator.fresh(self.seed)
        before = self.simulator.sim.get_state().flatten()
        branch(self.simulator, Expert(self.simulator, BOWLS[1]), 0, 1)
        np.testing.assert_array_equal(self.simulator.sim.get_state().flatten(), before)

    def test_a_learner_that_leads_is_asked_under_its_delay_and_the_expert_is_tried_after_the_rows_given(self):
        self.simulator.fresh(self.seed)
        asked = Plan(task=TASK, seed=self.seed, bowl=0, noise=0, astray=(Astray(4, 9, None),), counterfactuals=0, delay=3)
        playing = play(self.simulator, asked, prompt_tasks(TASK))
        chunks = [np.full((HORIZON, 7), value) for value in (0.1, 0.2, 0.3)]
        told = [next(playing)]
        with self.assertRaises(StopIteration) as end:
            for chunk in chunks:
                told.append(playing.send(chunk))
        episode = end.exception.value
        self.assertEqual([len(given) for _, _, given in told], [0, 3, 3])
        np.testing.assert_array_equal(episode.branch_at, [4, 7, 10])
        np.testing.assert_array_equal(episode.branch_given, [0, 3, 3])
        # The first chunk at once, the others from their fourth row on.
        np.testing.assert_array_equal(episode.carried_out[4:13, 0], [0.1] * 6 + [0.2] * 3)
        np.testing.assert_array_equal(episode.branch_carried_out[2, :3, 0], [0.2] * 3)
        np.testing.assert_array_equal(episode.branch_carried_out[:, 3:], episode.branch_actions[:, 3:])
        # As long as the same is carried out, the branch is what happened.
        np.testing.assert_allclose(episode.branch_actions[1, :4], episode.actions[7:11], atol=1e-9)

    def test_rows_that_are_tried_as_given_ones_are_off_what_the_expert_wants_and_it_answers_what_follows(self):
        self.simulator.fresh(self.seed)
        asked = Plan(task=TASK, seed=self.seed, bowl=0, noise=0, astray=(), counterfactuals=0, tried=10)
        episode = finished(play(self.simulator, asked, prompt_tasks(TASK)))
        self.assertGreater(len(episode.branch_at), 5)
        self.assertEqual(set(episode.branch_given) - {1, 2, 3, 4}, set())
        for at, given, answers, told in zip(
            episode.branch_at, episode.branch_given, episode.branch_actions, episode.branch_carried_out
        ):
            np.testing.assert_allclose(answers[0], episode.actions[at], atol=1e-9)
            self.assertGreater(np.abs(told - answers)[:given, :3].max(), 0.01)
            np.testing.assert_array_equal(told[given:], answers[given:])

    def test_a_recorded_moment_is_drawn_as_it_was_seen(self):
        self.simulator.fresh(self.seed)
        seen, qpos, fixtures = self.simulator.drawn(), np.array(self.simulator.sim.data.qpos), self.simulator.fixtures()
        self.simulator.fresh(self.seed + 1)
        self.assertGreater(np.abs(self.simulator.drawn().astype(int) - seen).mean(), 0.5)
        self.simulator.place(qpos.astype(np.float32), fixtures.astype(np.float32))
        # float32 moves an edge by a level here and there.
        self.assertLess(np.abs(self.simulator.drawn().astype(int) - seen).mean(), 0.01)

    def test_frames_are_the_labelled_steps_and_the_counterfactual_ones(self):
        with tempfile.TemporaryDirectory() as folder:
            self.episode.save(Path(folder) / f"t{TASK}_{self.seed}.npz")
            table = frames.read([Path(folder)])
        own = table.bowl == 0
        self.assertEqual(own.sum(), self.episode.labelled().sum())
        self.assertEqual((~own).sum(), len(self.episode.branch_at))
        self.assertEqual(set(table.prompt_task[own]), {TASK})
        steps = table.picture_step[table.picture]
        np.testing.assert_allclose(table.state, self.episode.state[steps], atol=1e-6)
        np.testing.assert_array_equal(table.given[own], self.episode.own()[steps[own]])
        np.testing.assert_array_equal(table.carried_out[~own], table.actions[~own])
        np.testing.assert_allclose(table.actions[own][0], self.episode.actions[steps[own][0] :][:HORIZON], atol=1e-6)
        hand = self.episode.state[steps, :3]
        np.testing.assert_allclose(table.offsets[:, 3:], self.episode.things[steps, 2] - hand, atol=1e-6)


class Leads(unittest.TestCase):
    def test_without_a_delay_the_learner_is_asked_when_its_rows_are_carried_out(self):
        lead, asked = Lead(0), 0
        for _ in range(2 * EXECUTED):
            if lead.is_due:
                self.assertEqual(len(lead.given()), 0)
                lead.take(np.zeros((HORIZON, 7)))
                asked += 1
            lead.next()
        self.assertEqual(asked, 2)


class Plans(unittest.TestCase):
    def test_plans_are_of_all_kinds_and_follow_from_the_seed(self):
        plans = [plan(TASK, seed, True) for seed in seeds(TASK, 200)]
        self.assertEqual(plans[7].noise, plan(TASK, seeds(TASK, 200)[7], True).noise)
        for share, wanted in (
            (np.mean([p.bowl for p in plans]), 0.2),
            (np.mean([any(a.start == 0 for a in p.astray) for p in plans]), 0.5),
            (np.mean([any(a.start > 0 for a in p.astray) for p in plans]), 0.4),
            (np.mean([p.noise == 0 for p in plans]), 0.2),
        ):
            self.assertAlmostEqual(share, wanted, delta=0.12)


if __name__ == "__main__":
    unittest.main()

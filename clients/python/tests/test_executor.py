"""The executor under a source and a clock that are the test's; a tick takes 100 ms."""

import asyncio
import threading
import types
import unittest
from concurrent.futures import Future

import numpy as np

import turbo_pi_client as tp
from turbo_pi_client.executor.delay import DelayEstimate


class Asked:
    def __init__(self, observation, options):
        self.observation, self.options = observation, options
        self.future = Future()

    def answer(self, base, rows=6, chunk_id=0):
        """With a chunk whose actions are `base`, `base + 1`, …"""
        actions = np.arange(base, base + rows, dtype=float)[:, None]
        self.future.set_result(types.SimpleNamespace(actions=actions, chunk_id=chunk_id, session="s", generation=0))


class Stage:
    def __init__(self, **options):
        self.asked = []
        self.now = 0
        self.ticks = 0
        self.session, self.generation = "s", 0
        options = {"strategy": "aligned", "hertz": 10, "starvation": "hold", **options}
        self.executor = tp.ChunkExecutor(self, now=lambda: self.now, **options)

    def submit(self, observation, options=None):
        self.asked.append(Asked(observation, options))
        return self.asked[-1].future

    def tick(self):
        result = self.executor.tick(lambda: {"tick": self.ticks})
        self.ticks += 1
        self.now += 100
        return None if result.action is None else result.action.tolist()[0], result.source

    def play(self, count):
        return [self.tick()[0] for _ in range(count)]

    def told(self, event):
        events = []
        self.executor.on(event, events.append)
        return events


class Executor(unittest.TestCase):
    def test_aligned_merges_by_the_actions_that_have_passed(self):
        stage = Stage()
        self.assertEqual(stage.tick(), (None, "nothing"))
        self.assertEqual(stage.play(1), [None])
        self.assertEqual(len(stage.asked), 1, "one call at a time")
        stage.asked[0].answer(0)
        self.assertEqual(stage.play(4), [0, 1, 2, 3], "waiting before the first chunk costs no row")
        self.assertEqual(len(stage.asked), 2, "half of the chunk is over")
        self.assertEqual(stage.asked[1].observation, {"tick": 5}, "with the observation of that tick")
        self.assertEqual(stage.play(1), [4])
        stage.asked[1].answer(100)
        self.assertEqual(stage.tick(), (102, "seam"), "two actions have passed since its observation")
        self.assertEqual(stage.play(1), [103])
        self.assertEqual(len(stage.asked), 3)

    def test_a_longer_delay_is_asked_for_earlier(self):
        stage = Stage(execution_horizon=5)
        stage.play(1)
        stage.now += 200
        stage.asked[0].answer(0)
        stage.play(2)
        self.assertEqual(stage.executor.delay_ticks, 3)
        self.assertEqual(len(stage.asked), 1)
        stage.play(1)
        self.assertEqual(len(stage.asked), 2, "four actions are left, three of them for the delay")

    def test_the_delay_is_the_longest_measured_and_sinks(self):
        delay = DelayEstimate()
        for ms in (100, 300, 100):
            delay.add(ms)
        self.assertAlmostEqual(delay.ms, 280)
        for _ in range(100):
            delay.add(100)
        self.assertLess(delay.ms, 101)

    def test_a_robot_without_an_action_holds_stops_or_does_what_it_is_told_and_says_so_once(self):
        for starvation, expected in (("hold", 1), ("zero", 0), (lambda last: last / 2, 0.5)):
            stage = Stage(starvation=starvation, grace_ticks=1)
            starved = stage.told(tp.Starved)
            stage.play(1)
            stage.asked[0].answer(0, 2)
            stage.play(2)
            self.assertEqual(stage.tick(), (1, "grace"))
            self.assertEqual([stage.tick(), stage.tick()], [(expected, "starved")] * 2)
            self.assertEqual([event.tick for event in starved], [2], "told once")
            stage.asked[1].answer(10, 3)
            self.assertEqual(stage.tick(), (12, "seam"), "ticks without an action do not count")

    def test_sync_waits_for_each_chunk_and_plays_it_from_its_first_row(self):
        stage = Stage(strategy="sync", execution_horizon=2)
        stage.play(1)
        stage.asked[0].answer(0)
        self.assertEqual(stage.play(2), [0, 1])
        self.assertEqual(len(stage.asked), 1)
        self.assertEqual(stage.tick(), (1, "starved"))
        self.assertEqual(len(stage.asked), 2)
        stage.asked[1].answer(10)
        self.assertEqual(stage.play(2), [10, 11])

    def test_blend_leads_over_in_the_dimensions_that_may_be(self):
        for continuous, expected in ((None, [(4 + 101) / 2, 102]), ([False], [101, 102])):
            stage = Stage(strategy="blend", blend_ticks=1, continuous=continuous)
            stage.play(1)
            stage.asked[0].answer(0)
            stage.play(4)
            stage.asked[1].answer(100)
            self.assertEqual(stage.play(2), expected)

    def test_rtc_asks_the_server_to_continue_the_chunk_being_executed(self):
        stage = Stage(strategy="rtc", rtc=tp.RtcOptions(schedule="exp"))
        stage.play(1)
        self.assertIsNone(stage.asked[0].options.rtc, "there is nothing to continue yet")
        stage.asked[0].answer(0, chunk_id=4)
        stage.play(4)
        self.assertEqual(stage.asked[1].options.rtc, tp.RtcRequest(4, 3, 1, schedule="exp"))
        stage.asked[1].future.set_exception(RuntimeError("no such chunk"))
        stage.play(1)
        self.assertIsNone(stage.asked[2].options.rtc, "after a failure afresh")
        stage.asked[2].answer(20)
        stage.session = "another connection"
        stage.play(3)
        self.assertEqual(len(stage.asked), 4)
        self.assertIsNone(stage.asked[3].options.rtc, "another connection does not know the chunk")

    def test_failures_are_told_and_asked_again(self):
        stage = Stage()
        failed = stage.told(tp.Failed)
        stage.play(1)
        stage.asked[0].future.set_exception(RuntimeError("no connection"))
        stage.play(1)
        self.assertEqual(len(stage.asked), 2)
        stage.asked[1].future.cancel()
        stage.play(1)
        self.assertEqual(len(stage.asked), 3)
        self.assertEqual(str(failed[0].error), "no connection")

    def test_a_chunk_whose_rows_have_all_passed_is_stale(self):
        stage = Stage()
        stale = stage.told(tp.Stale)
        stage.play(1)
        stage.asked[0].answer(0, 8)
        stage.play(8)
        stage.asked[1].answer(100, 3)
        self.assertEqual(stage.play(1), [7], "and not played")
        self.assertEqual([event.tick for event in stale], [8])

    def test_after_a_reset_nothing_of_before_is_played(self):
        stage = Stage()
        stage.play(1)
        stage.executor.reset()
        self.assertTrue(stage.asked[0].future.cancelled())
        self.assertEqual(stage.play(1), [None])
        stage.asked[1].answer(50)
        stage.executor.reset()
        self.assertEqual(stage.play(1), [None], "the answer was for the episode before")
        stage.asked[2].answer(70)
        self.assertEqual(stage.play(1), [70])

    def test_the_loops_tick_until_they_are_told_to_stop(self):
        stage, stop, acts = Stage(), threading.Event(), []

        def act(tick):
            acts.append(tick)
            if len(acts) == 5:
                stop.set()

        tp.run_executor(stage.executor, hertz=200, observe=dict, act=act, stop=stop)
        self.assertEqual(len(acts), 5)

        async def five():
            async def act_later(tick):
                acts.append(tick)
                if len(acts) == 10:
                    task.cancel()

            task = asyncio.ensure_future(
                tp.run_executor_async(Stage().executor, hertz=200, observe=dict, act=act_later)
            )
            with self.assertRaises(asyncio.CancelledError):
                await task

        asyncio.run(five())
        self.assertEqual(len(acts), 10)

    def test_what_makes_no_sense_is_refused(self):
        for wrong in ({"hertz": 0}, {"strategy": "fast"}, {"starvation": "panic"}):
            with self.assertRaises(ValueError):
                Stage(**wrong)

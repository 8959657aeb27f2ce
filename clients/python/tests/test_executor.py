"""The executor under a source and a clock that are the test's; a tick takes 100 ms."""

import asyncio
import dataclasses
import json
import threading
import types
import unittest
from concurrent.futures import Future

import numpy as np

import turbo_pi_client as tp
from turbo_pi_client.executor.delay import DelayEstimate

from .support import REPOSITORY

SCENARIOS = json.loads((REPOSITORY / "test/client/executor-scenarios.json").read_text())["scenarios"]


class Asked:
    def __init__(self, observation, options):
        self.observation, self.options = observation, options
        self.future = Future()

    def answer(self, base, rows=6, chunk_id=0):
        """With a chunk whose actions are `base`, `base + 1`, …"""
        actions = np.arange(base, base + rows, dtype=float)[:, None]
        if self.future.cancelled():
            return
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


class Scenario:
    """A scenario of the file that both clients pass."""

    def __init__(self, test, options):
        self.test = test
        if "rtc" in options:
            options = {**options, "rtc": tp.RtcOptions(**options["rtc"])}
        self.stage = Stage(**options)
        self.events = []
        tell = self.events.append
        for event in (tp.Starved, tp.Stale, tp.Merged):
            self.stage.executor.on(event, lambda told: tell({"event": type(told).__name__.lower(), **vars(told)}))
        self.stage.executor.on(tp.Failed, lambda told: tell({"event": "failed", "message": str(told.error)}))

    def play(self, actions, sources=None):
        ticks = [self.stage.tick() for _ in actions]
        self.test.assertEqual([action for action, _ in ticks], actions)
        if sources:
            self.test.assertEqual([source for _, source in ticks], sources)

    def wait(self, ms):
        self.stage.now += ms

    def answer(self, value):
        chunk = dict(value)
        self.stage.asked[chunk.pop("call")].answer(**chunk)

    def fail(self, value):
        self.stage.asked[value["call"]].future.set_exception(RuntimeError(value["message"]))

    def reset(self, _):
        self.stage.executor.reset()

    def session(self, name):
        self.stage.session = name

    def generation(self, number):
        self.stage.generation = number

    def asked(self, count):
        self.test.assertEqual(len(self.stage.asked), count)

    def observation(self, value):
        self.test.assertEqual(self.stage.asked[value["call"]].observation, {"tick": value["tick"]})

    def delay_ticks(self, count):
        self.test.assertEqual(self.stage.executor.delay_ticks, count)

    def rtc(self, value):
        asked = self.stage.asked[value["call"]].options.rtc
        if value["is"] is None:
            self.test.assertIsNone(asked)
        else:
            self.test.assertEqual({name: dataclasses.asdict(asked)[name] for name in value["is"]}, value["is"])

    def see_events(self, expected):
        self.test.assertEqual(len(self.events), len(expected), self.events)
        for event, part in zip(self.events, expected):
            self.test.assertEqual({name: event.get(name) for name in part}, part)
        self.events.clear()


class Scenarios(unittest.TestCase):
    """One test a scenario."""


def scenario_test(given):
    def test(self):
        scenario = Scenario(self, given["options"])
        for step in given["steps"]:
            ((verb, value), *sources) = step.items()
            with self.subTest(step=step):
                getattr(scenario, "see_events" if verb == "events" else verb)(value, *(more for _, more in sources))

    return test


for number, given in enumerate(SCENARIOS):
    name = "".join(letter if letter.isalnum() else "_" for letter in given["name"])
    setattr(Scenarios, f"test_{number:02}_{name}", scenario_test(given))


class Executor(unittest.TestCase):
    def test_a_starved_robot_gets_what_a_function_makes_of_its_last_action(self):
        stage = Stage(starvation=lambda last: last / 2)
        stage.play(1)
        stage.asked[0].answer(4, 1)
        self.assertEqual(stage.play(3), [4, 2, 2])

    def test_an_answer_on_its_way_is_cancelled_by_a_reset(self):
        stage = Stage()
        stage.play(1)
        stage.executor.reset()
        self.assertTrue(stage.asked[0].future.cancelled())

    def test_the_delay_is_the_longest_measured_and_sinks(self):
        delay = DelayEstimate()
        for ms in (100, 300, 100):
            delay.add(ms)
        self.assertAlmostEqual(delay.ms, 280)
        for _ in range(100):
            delay.add(100)
        self.assertLess(delay.ms, 101)

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

    def test_the_loop_reports_every_action_that_it_commands(self):
        stage = Stage(starvation="zero")
        stage.tick()
        stage.asked[0].answer(4, rows=3)
        stop = threading.Event()
        commanded, told = [], []

        def act(tick):
            commanded.append(None if tick.action is None else tick.action[0])
            if len(commanded) == 4:
                stop.set()

        class Recorder:
            def executed(self, action, chunk=None, row=None):
                told.append((action[0], None if chunk is None else chunk.chunk_id, row))
                return True

        tp.run_executor(stage.executor, hertz=200, observe=dict, act=act, stop=stop, report=Recorder())
        self.assertEqual(commanded, [4, 5, 6, 0])
        self.assertEqual([row for _, _, row in told], [0, 1, 2, None])
        self.assertEqual([value for value, _, _ in told], commanded)
        self.assertIsNone(told[-1][1])

    def test_what_makes_no_sense_is_refused(self):
        for wrong in ({"hertz": 0}, {"strategy": "fast"}, {"starvation": "panic"}):
            with self.assertRaises(ValueError):
                Stage(**wrong)

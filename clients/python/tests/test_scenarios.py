"""What the client's core does, as test/client/scenarios.json says it for clients in every language."""

import json
import pathlib
import unittest

import numpy as np

from turbo_pi_client.chunk import ActionChunk
from turbo_pi_client.core.core import ClientCore, CoreOptions
from turbo_pi_client.core.messages import read_message
from turbo_pi_client.errors import ClientError
from turbo_pi_client.observation import ObserveOptions, observed

FILE = pathlib.Path(__file__).parents[3] / "test/client/scenarios.json"
CHUNK_FIELDS = {field for field in ActionChunk.__dataclass_fields__}


class Stage:
    """A core under a clock and a network that the scenario moves."""

    def __init__(self, options):
        if "backoff_ms" in options:
            options = {**options, "backoff_ms": tuple(options["backoff_ms"])}
        self.now = 0
        self.room = True
        self.connects = self.drops = 0
        self.sent, self.events = [], []
        self.calls, self.outcomes = {}, {}
        self.core = ClientCore(CoreOptions(**{"hears_pings": True, "random": lambda: 0.5, **options}), self)

    # The effects.

    def connect(self):
        self.connects += 1

    def drop(self, code, reason):
        self.drops += 1

    def send(self, message):
        self.sent.append(message)

    def has_room(self):
        return self.room

    def ready(self, message):
        self.events.append(
            {"event": "ready", "session": message["session"], "instance": message.get("instance"), **message["metadata"]}
        )

    def lost(self, error, final):
        self.events.append({"event": "lost", "code": error.code, "final": final})

    def reconnecting(self, in_ms):
        self.events.append({"event": "reconnecting", "in_ms": in_ms})

    def timed(self, sample):
        pass

    # The clock.

    def advance(self, to):
        while self.core.wake_at <= to:
            self.now = max(self.now, self.core.wake_at)
            self.core.tick(self.now)
        self.now = to

    # The verbs that act.

    def do_start(self, _):
        self.core.start(self.now)

    def do_opened(self, _):
        self.core.opened(self.now)

    def do_heard(self, _):
        self.core.heard(self.now)

    def do_message(self, decoded):
        try:
            message = read_message(decoded)
        except ValueError as error:
            return self.core.unreadable(str(error), self.now)
        return self.core.message(message, self.now) if message else self.core.heard(self.now)

    def do_unreadable(self, why):
        self.core.unreadable(why, self.now)

    def do_closed(self, value):
        self.core.disconnected(value["detail"], value.get("refused", False), self.now)

    def do_room(self, room):
        self.room = room

    def do_call(self, value, replaceable=False):
        name = value["id"]
        options = ObserveOptions(**{"captured_at": self.now, **value["options"]})

        def settle(outcome):
            assert name not in self.outcomes, f"{name} is settled twice"
            self.outcomes[name] = outcome

        self.calls[name] = None
        self.calls[name] = self.core.call(observed(value["observation"], options), replaceable, settle, self.now)

    def do_push(self, value):
        self.do_call(value, True)

    def do_abort(self, name):
        self.core.cancel(self.calls[name], ClientError("ABORTED", "the caller has had enough"), self.now)

    def do_reset(self, _):
        self.core.reset(self.now)

    def do_executed(self, value):
        self.core.executed(value["action"], value.get("seq"), value.get("row"), self.now)

    def do_mark(self, value):
        self.core.mark(value["kind"], value.get("text"), self.now)

    def do_clear(self, _):
        self.core.clear_hold()

    def do_close(self, _):
        self.core.close(self.now)

    # The verbs that expect.

    def see_sent(self, test, expected):
        self._see_all(test, self.sent, expected)
        self.sent = []

    def see_events(self, test, expected):
        self._see_all(test, self.events, expected)
        self.events = []

    def _see_all(self, test, actual, expected):
        test.assertEqual(len(actual), len(expected), actual)
        for one, part in zip(actual, expected):
            see(test, one, part)

    def see_connects(self, test, count):
        test.assertEqual(self.connects, count)
        self.connects = 0

    def see_drops(self, test, count):
        test.assertEqual(self.drops, count)
        self.drops = 0

    def see_waiting(self, test, names):
        test.assertEqual([name for name in self.calls if name not in self.outcomes], names)

    def see_answered(self, test, chunks):
        for name, part in chunks.items():
            chunk = self.outcomes.get(name)
            test.assertIsInstance(chunk, ActionChunk, name)
            test.assertLessEqual(set(part), CHUNK_FIELDS)
            for field, value in part.items():
                actual = getattr(chunk, field)
                if value is None:
                    test.assertIsNone(actual, field)
                else:
                    see(test, actual, value, field)

    def see_failed(self, test, codes):
        for name, code in codes.items():
            test.assertIsInstance(self.outcomes.get(name), ClientError, name)
            test.assertEqual(self.outcomes[name].code, code, name)

    def see_clock(self, test, sample):
        best = self.core.clock.best
        test.assertEqual({"offset_ms": best.offset_ms, "round_trip_ms": best.round_trip_ms}, sample)


def see(test, actual, part, path=""):
    """Part of a message; null stands for a key that is not there."""
    if isinstance(actual, np.ndarray):
        actual = actual.tolist()
    if isinstance(part, dict):
        for key, value in part.items():
            if value is None:
                test.assertIsNone(actual.get(key), f"{path}.{key}")
            else:
                test.assertIn(key, actual, path)
                see(test, actual[key], value, f"{path}.{key}")
    elif isinstance(part, list):
        test.assertEqual(len(actual), len(part), path)
        for index, (one, value) in enumerate(zip(actual, part)):
            see(test, one, value, f"{path}[{index}]")
    else:
        test.assertEqual(actual, part, path)


class Scenarios(unittest.TestCase):
    """One test a scenario."""


def scenario_test(scenario):
    def test(self):
        stage = Stage(scenario["options"])
        for number, step in enumerate(scenario["steps"], 1):
            ((verb, value),) = [(key, entry) for key, entry in step.items() if key != "at"]
            stage.advance(step["at"])
            try:
                if hasattr(stage, f"do_{verb}"):
                    getattr(stage, f"do_{verb}")(value)
                else:
                    getattr(stage, f"see_{verb}")(self, value)
            except AssertionError as error:
                raise AssertionError(f"step {number}, {verb} at {step['at']}: {error}") from error

    test.__doc__ = scenario["name"]
    return test


for index, scenario in enumerate(json.loads(FILE.read_text())["scenarios"]):
    setattr(Scenarios, f"test_{index:02}", scenario_test(scenario))

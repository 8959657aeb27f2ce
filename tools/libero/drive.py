"""
A robot's side of `npm run eval:libero`: plays episodes of LIBERO against a server, as lines of JSON ask for them.

Each line on standard input is an episode: {"url", "suite", "task", "episode", "execute", "delay", "strategy", "fault",
"video", "timeout"}. Each line on standard output is its result. Without a delay it asks over openpi's own protocol and waits;
with one, in simulated time, over the stream with our client's executor.
"""

import functools
import json
import os
import sys
import time
import urllib.request
from collections.abc import Callable

import numpy as np

from faults import FAULTS, Fault
from simulator import STAND_STILL, STEP_LIMITS, Simulator
from turbo_pi_client import ChunkExecutor, Failed, RtcOptions, TurboPiClient
from turbo_pi_client.openpi import WebsocketClientPolicy

HERTZ = 20
TICK_MS = 1000 / HERTZ
FRAMES_A_SECOND = 20


class Robot:
    """One episode: what is seen, what was done, and how long each answer took."""

    def __init__(self, simulator: Simulator, job: dict):
        self.simulator, self.fault = simulator, FAULTS[job["fault"]]
        self.limit = STEP_LIMITS[job["suite"]]
        self.steps, self.done, self.calls, self.starved = 0, False, [], 0
        self.frames = [] if job.get("video") else None

    @property
    def over(self) -> bool:
        return self.done or self.steps >= self.limit

    def observe(self) -> dict:
        return observation(self.simulator, self.fault)

    def carry_out(self, action: np.ndarray) -> None:
        if self.frames is not None:
            self.frames.append(np.concatenate(list(self.simulator.drawn()), 1))
        self.done = self.simulator.step(self.fault.action(np.array(action, float)))
        self.steps += 1


def observation(simulator: Simulator, fault: Fault) -> dict:
    base, wrist = fault.pictures(*simulator.drawn())
    return {
        "observation/image": base,
        "observation/wrist_image": wrist,
        "observation/state": fault.state(simulator.state()),
        "prompt": simulator.prompt,
    }


def synchronous(robot: Robot, policy: WebsocketClientPolicy, execute: int) -> None:
    """As openpi's client does it: ask, carry out the first actions of the answer, ask again. The world waits meanwhile."""
    plan: list[np.ndarray] = []
    while not robot.over:
        if not plan:
            seen, asked = robot.observe(), time.perf_counter()
            chunk = policy.infer(seen)["actions"]
            robot.calls.append((time.perf_counter() - asked) * 1000)
            plan = list(chunk[:execute])
        robot.carry_out(plan.pop(0))


class Underway:
    """An answer that the simulated network has not delivered yet."""

    def __init__(self, call, due: float):
        self._call, self.due, self._listeners = call, due, []

    def add_done_callback(self, listener: Callable) -> None:
        self._listeners.append(listener)

    def result(self):
        return self._call.result()

    def cancel(self) -> bool:
        return self._call.cancel()

    def deliver(self) -> None:
        for listener in self._listeners:
            listener(self)


class SlowNetwork:
    """Delivers each answer `delay` control steps after its observation, whatever the real server takes."""

    def __init__(self, client: TurboPiClient, delay: int, calls: list[float], timeout: float):
        self._client, self._delay, self._calls, self._timeout = client, delay, calls, timeout
        self._underway: Underway | None = None
        self.now = 0.0

    @property
    def session(self):
        return self._client.session

    @property
    def generation(self) -> int:
        return self._client.generation

    def submit(self, seen, options=None) -> Underway:
        asked = time.perf_counter()
        call = self._client.submit(seen, options)
        call.add_done_callback(lambda _: self._calls.append((time.perf_counter() - asked) * 1000))
        self._underway = Underway(call, self.now + self._delay * TICK_MS)
        return self._underway

    def advance(self, now: float) -> bool:
        """Whether an answer was delivered that is due by then."""
        underway = self._underway
        self.now = now
        if not underway or underway.due > now + 1e-6:
            return False
        self._underway = None
        underway._call.exception(self._timeout)
        underway.deliver()
        return True


def delayed(robot: Robot, client: TurboPiClient, job: dict) -> None:
    """In simulated time at 20 Hz: the world goes on while an answer is on its way."""
    network = SlowNetwork(client, job["delay"], robot.calls, job["timeout"])
    given = trained_delay(job["url"])
    failures: list[BaseException] = []

    def hold(last: np.ndarray) -> np.ndarray:
        # A standing gripper keeps what it holds.
        return np.concatenate((np.zeros(6), last[6:]))

    executor = ChunkExecutor(
        network,
        strategy=job["strategy"],
        hertz=HERTZ,
        starvation=hold,
        execution_horizon=job["execute"],
        rtc=RtcOptions(mode="trained", trained_delay=given) if given else RtcOptions(),
        now=lambda: network.now,
    )
    executor.on(Failed, lambda event: failures.append(event.error))
    client.reset()
    while not robot.over:
        now = robot.steps * TICK_MS
        network.advance(now)
        tick = executor.tick(robot.observe)
        # An answer without delay is there within the tick.
        if network.advance(now):
            tick = executor.tick(robot.observe)
        if failures:
            raise failures[0]
        if tick.source in ("starved", "nothing"):
            robot.starved += 1
        robot.carry_out(STAND_STILL if tick.action is None else tick.action)


@functools.cache
def trained_delay(url: str) -> int:
    """Most rows of the chunk before that the served policy was trained to be given."""
    with urllib.request.urlopen(f"{url.replace('ws', 'http', 1)}/metadata") as answer:
        return json.load(answer)["trainedDelay"]


class Player:
    """Keeps the simulator of the last task and the connection to the last server."""

    def __init__(self) -> None:
        self._simulator: tuple[tuple[str, int], Simulator] | None = None
        self._link: tuple[tuple[str, bool], WebsocketClientPolicy | TurboPiClient] | None = None

    def play(self, job: dict) -> dict:
        started = time.time()
        simulator = self._simulator_of(job["suite"], job["task"])
        simulator.benchmark(job["episode"])
        robot = Robot(simulator, job)
        waits = job["delay"] == 0 and job["strategy"] == "sync"
        link = self._link_to(job["url"], waits, job["timeout"])
        synchronous(robot, link, job["execute"]) if waits else delayed(robot, link, job)
        if robot.frames:
            film(job["video"], robot.frames)
        return {
            "solved": robot.done,
            "steps": robot.steps,
            "starved": robot.starved,
            "calls": [round(call, 2) for call in robot.calls],
            "seconds": round(time.time() - started, 2),
        }

    def _simulator_of(self, suite: str, task: int) -> Simulator:
        if self._simulator and self._simulator[0] != (suite, task):
            self._simulator[1].close()
            self._simulator = None
        if not self._simulator:
            self._simulator = ((suite, task), Simulator(task, suite=suite))
        return self._simulator[1]

    def _link_to(self, url: str, openpi: bool, timeout: float):
        if self._link and self._link[0] != (url, openpi):
            self._link[1].close()
            self._link = None
        if not self._link:
            link = WebsocketClientPolicy(url, timeout_s=timeout) if openpi else TurboPiClient.connect(url)
            self._link = ((url, openpi), link)
        return self._link[1]


def film(path: str, frames: list[np.ndarray]) -> None:
    import imageio

    imageio.mimwrite(path, frames, fps=FRAMES_A_SECOND, macro_block_size=16)


def main() -> None:
    # What LIBERO prints does not belong between the results.
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    player = Player()
    for line in sys.stdin:
        job = json.loads(line)
        answer = {"condition": job["condition"], "task": job["task"], "episode": job["episode"]}
        try:
            answer |= player.play(job)
        except Exception as error:
            answer |= {"error": f"{type(error).__name__}: {error}"}
        results.write(json.dumps(answer) + "\n")
        results.flush()


if __name__ == "__main__":
    main()

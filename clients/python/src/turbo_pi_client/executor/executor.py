"""Plays action chunks at the control rate, one action a tick."""

from __future__ import annotations

import math
from asyncio import CancelledError as AsyncCancelledError
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from ..chunk import ActionChunk
from ..observation import Observation, ObserveOptions, RtcRequest, now_ms
from .delay import DelayEstimate
from .events import Failed, Merged, Stale, Starved
from .plan import Action, Plan, blended

Strategy = Literal["sync", "aligned", "blend", "rtc"]
"""
What becomes of the chunk that is being executed when a new one arrives. `sync`: it is played to the end, then the robot waits
for the next. `aligned`: the new one takes its place, from the row that is due. `blend`: the same, led over in a few ticks.
`rtc`: the same, and the server continues the old one (docs/guides/stream.md), so that both agree where they meet.
"""
STRATEGIES: tuple[Strategy, ...] = ("sync", "aligned", "blend", "rtc")

_ROUNDING = 1e-9
"""Ticks: a delay of whole ticks is not to be one more by the rounding of its milliseconds."""

Starvation: TypeAlias = Literal["hold", "zero"] | Callable[[Action], Action]


class Pending(Protocol):
    """A future of concurrent.futures or of asyncio."""

    def add_done_callback(self, callback: Callable[[Any], object], /) -> None: ...

    def result(self) -> ActionChunk: ...

    def cancel(self) -> bool: ...


class ChunkSource(Protocol):
    """What the executor needs of a client: TurboPiClient and AsyncTurboPiClient have it."""

    @property
    def session(self) -> str | None:
        """Of the connection: a chunk of another one cannot be continued."""

    @property
    def generation(self) -> int: ...

    def submit(self, observation: Observation, options: ObserveOptions | None = None) -> Pending: ...


@dataclass(frozen=True)
class RtcOptions:
    """What the server is asked beside the previous chunk and the delay."""

    mode: Literal["guided", "trained"] | None = None
    execution_horizon: int | None = None
    schedule: Literal["zeros", "ones", "linear", "exp"] | None = None
    max_guidance_weight: float | None = None
    trained_delay: int | None = None
    """Of mode trained: the most rows that the checkpoint was trained to be given (`trainedDelay` of GET /metadata)."""


@dataclass(frozen=True)
class Tick:
    """The action of one tick."""

    action: Action | None
    """None before the first chunk."""
    source: Literal["chunk", "seam", "grace", "starved", "nothing"]
    """`seam`: the first action of another chunk."""
    chunk: ActionChunk | None = None
    """Of `chunk` and `seam`: what the action is from, and its row there."""
    row: int | None = None


@dataclass(frozen=True)
class _Answer:
    episode: int
    asked_tick: int
    delay_ms: float
    call: Pending
    rtc: RtcRequest | None


class ChunkExecutor:
    """
    It never waits: the next chunk is asked for before this one ends, by the delay that was measured, and merged by the
    number of actions that were carried out since its observation, whatever the clocks say: a tick without an action does not
    count. To be used from one thread.
    """

    def __init__(
        self,
        source: ChunkSource,
        *,
        strategy: Strategy,
        hertz: float,
        starvation: Starvation,
        execution_horizon: int | None = None,
        grace_ticks: int = 0,
        blend_ticks: int = 4,
        continuous: Sequence[bool] | None = None,
        observe: ObserveOptions | Callable[[], ObserveOptions] = ObserveOptions(),
        rtc: RtcOptions = RtcOptions(),
        now: Callable[[], float] = now_ms,
    ) -> None:
        """
        `hertz`: actions a second. `starvation`: what a robot without an action gets after `grace_ticks` of its last one: that
        again (`hold`, for positions), zeros (`zero`, for velocities), or what the function makes of the last.
        `execution_horizon`: actions after which the next chunk is asked for; default: half of the chunk. `blend_ticks`,
        `continuous`: of `blend`. `observe`: options of every call. `rtc`: of `rtc`.
        """
        if not hertz > 0:
            raise ValueError(f"hertz is more than 0, got {hertz}.")
        if strategy not in STRATEGIES:
            raise ValueError(f"strategy is one of {', '.join(STRATEGIES)}, got {strategy}.")
        if not callable(starvation) and starvation not in ("hold", "zero"):
            raise ValueError(f"starvation is hold, zero or a function, got {starvation}.")
        self._source = source
        self._strategy = strategy
        self._hertz = hertz
        self._starvation = starvation
        self._execution_horizon = execution_horizon
        self._grace_ticks = grace_ticks
        self._blend_ticks = blend_ticks
        self._continuous = continuous
        self._observe = observe
        self._rtc = rtc
        self._now = now
        self._delay = DelayEstimate()
        self._listeners: dict[type, list[Callable[[Any], None]]] = {}
        self._answers: deque[_Answer] = deque()
        """Filled by the client's thread, emptied by ticks."""
        self._tick = 0
        """Counts the actions of chunks that were carried out."""
        self._episode = 0
        self._forget()

    def _forget(self) -> None:
        self._plan: Plan | None = None
        self._last: Action | None = None
        self._played: ActionChunk | None = None
        self._missed = 0
        self._asking: Pending | None = None
        self._afresh = False
        """Set by a failure: what was asked to be continued may be what failed."""

    @property
    def delay_ticks(self) -> int:
        """The delay that is reckoned with."""
        return math.ceil(self._delay.ms * self._hertz / 1000 - _ROUNDING)

    def on(self, event: type, listener: Callable[[Any], None]) -> Callable[[], None]:
        """Listens to Starved, Merged, Stale or Failed, within `tick`; returns how to stop."""
        self._listeners.setdefault(event, []).append(listener)
        return lambda: self._listeners[event].remove(listener)

    def tick(self, observe: Callable[[], Observation]) -> Tick:
        """The action of this tick. `observe` is called when a new chunk is due."""
        while self._answers:
            self._hear(self._answers.popleft())
        if self._is_due():
            self._ask(observe())
        plan = self._plan
        tick = self._tick
        action = None if plan is None or self._is_played(plan) else plan.action_at(tick)
        if plan is None or action is None:
            return self._missing()
        self._tick += 1
        self._missed = 0
        source: Literal["seam", "chunk"] = (
            "chunk" if self._played is None or self._played is plan.chunk else "seam"
        )
        self._played = plan.chunk
        self._last = action
        return Tick(action, source, plan.chunk, tick - plan.start)

    def reset(self) -> None:
        """Forgets the chunk, for a new episode; an answer on its way is thrown away. Reset the client as well."""
        self._episode += 1
        if self._asking:
            self._asking.cancel()
        self._forget()

    def _horizon_of(self, plan: Plan) -> int:
        return self._execution_horizon or max(1, len(plan.actions) // 2)

    def _is_played(self, plan: Plan) -> bool:
        """`sync` plays no more than the execution horizon of a chunk: what follows was not planned for this moment."""
        return self._strategy == "sync" and self._tick - plan.start >= self._horizon_of(plan)

    def _is_due(self) -> bool:
        plan, tick = self._plan, self._tick
        if self._asking:
            return False
        if plan is None:
            return True
        if self._strategy == "sync":
            return self._is_played(plan) or plan.action_at(tick) is None
        return tick - plan.start >= self._horizon_of(plan) or plan.end - tick <= self.delay_ticks + 1

    def _ask(self, observation: Observation) -> None:
        episode, tick, asked = self._episode, self._tick, self._now()
        options = self._observe() if callable(self._observe) else self._observe
        try:
            rtc = self._continuation()
            call = self._source.submit(observation, replace(options, rtc=rtc))
        except Exception as error:
            self._fail(error)
            return
        self._asking = call
        call.add_done_callback(
            lambda _: self._answers.append(_Answer(episode, tick, self._now() - asked, call, rtc))
        )

    def _hear(self, answer: _Answer) -> None:
        if answer.episode != self._episode:
            return
        self._asking = None
        try:
            chunk = answer.call.result()
        except (Exception, CancelledError, AsyncCancelledError) as error:
            self._fail(error)
            return
        self._afresh = False
        self._delay.add(answer.delay_ms)
        self._merge(chunk, answer.asked_tick, answer.rtc)

    def _fail(self, error: BaseException) -> None:
        self._afresh = True
        self._emit(Failed(error))

    def _continuation(self) -> RtcRequest | None:
        """What of the chunk being executed the server is to continue."""
        plan = self._plan
        if self._strategy != "rtc" or plan is None or self._afresh:
            return None
        chunk = plan.chunk
        consumed = self._tick - plan.start
        here = self._source.session == chunk.session and self._source.generation == chunk.generation
        if not here or consumed >= len(plan.actions):
            return None
        delay = min(self.delay_ticks, len(plan.actions) - consumed)
        if self._rtc.mode == "trained" and self._rtc.trained_delay is not None:
            delay = min(delay, self._rtc.trained_delay)
        return RtcRequest(
            previous_chunk_id=chunk.chunk_id,
            consumed=consumed,
            inference_delay=delay,
            mode=self._rtc.mode,
            execution_horizon=self._rtc.execution_horizon,
            schedule=self._rtc.schedule,
            max_guidance_weight=self._rtc.max_guidance_weight,
        )

    def _merge(self, chunk: ActionChunk, observed_at: int, rtc: RtcRequest | None) -> None:
        tick, old = self._tick, self._plan
        new = Plan(observed_at, chunk.actions, chunk)
        # Rows past those that a trained network was given do not continue the chunk before.
        late = rtc is not None and rtc.mode == "trained" and tick - observed_at > rtc.inference_delay
        if tick >= new.end or (late and old is not None and old.action_at(tick) is not None):
            self._emit(Stale(tick, chunk))
            return
        if self._strategy == "blend" and old is not None:
            new = blended(old, new, tick, self._blend_ticks, self._continuous)
        self._plan = new
        self._emit(Merged(tick, tick - observed_at, chunk))

    def _missing(self) -> Tick:
        last = self._last
        if last is None:
            return Tick(None, "nothing")
        self._missed += 1
        if self._missed <= self._grace_ticks:
            return Tick(last, "grace")
        if self._missed == self._grace_ticks + 1:
            self._emit(Starved(self._tick))
        if callable(self._starvation):
            return Tick(self._starvation(last), "starved")
        return Tick(last if self._starvation == "hold" else np.zeros_like(last), "starved")

    def _emit(self, event: Starved | Merged | Stale | Failed) -> None:
        for listener in list(self._listeners.get(type(event), ())):
            listener(event)

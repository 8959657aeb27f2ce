"""Bad networks: every call ends in time, and the client comes back."""

import asyncio
import random
import threading
import time
import unittest

import turbo_pi_client as tp
from turbo_pi_client.openpi import WebsocketClientPolicy

from .support import TcpProxy, observation, server_port

SCHEDULES = 200
AT_ONCE = 20
LIMIT_S = 1
"""A call without an answer is to end this long after its deadline."""


def port():
    return server_port("--heartbeat", "1000")


def weather_of(rng):
    return rng.choice(
        [("forward",), ("swallow",), ("delay", rng.uniform(0.01, 0.25)), ("drop",), ("cut", rng.randint(0, 40))]
    )


class Lived:
    """Seconds that this process has lived: while it stands still they do, too. What the machine takes is not the client's."""

    BEAT_S = 0.02

    def __init__(self):
        self.s = 0.0

    async def count(self):
        while True:
            await asyncio.sleep(self.BEAT_S)
            self.s += self.BEAT_S


async def live(seed, lived):
    """One robot under one weather. Returns how many calls were answered, and what was wrong."""
    rng = random.Random(seed)
    wrong, answered = [], 0
    async with TcpProxy(port()) as proxy:
        proxy.become(*weather_of(rng))

        async def change():
            for _ in range(rng.randint(3, 8)):
                await asyncio.sleep(rng.uniform(0.02, 0.25))
                proxy.become(*weather_of(rng))
            proxy.become("forward")

        async def ask(deadline_ms):
            nonlocal answered
            start = lived.s
            try:
                await client.infer(observation(), tp.ObserveOptions(deadline_ms=deadline_ms, num_steps=1))
                answered += 1
                return True
            except tp.ClientError:
                return False
            finally:
                took = lived.s - start
                if took > deadline_ms / 1000 + LIMIT_S:
                    wrong.append(f"seed {seed}: a call took {took:.3f} s, its deadline was {deadline_ms} ms")

        changing = asyncio.ensure_future(change())
        client = await tp.AsyncTurboPiClient.connect(
            f"127.0.0.1:{proxy.port}",
            robot=f"robot-{seed}",
            # Attempts of many robots at once delay each other: were they given up before they can succeed, and begun again at
            # once, a loaded machine would do nothing else.
            backoff_ms=(10, 1000),
            connect_timeout_ms=2000,
            ready_timeout_ms=2000,
        )
        async with client:
            # Some calls wait for each other, as those of several tasks of one robot do.
            while not changing.done():
                await asyncio.gather(*(ask(rng.randint(20, 300)) for _ in range(rng.randint(1, 3))))
                await asyncio.sleep(rng.uniform(0, 0.03))
            await changing
            for _ in range(30):
                if await ask(2000):
                    break
            else:
                wrong.append(f"seed {seed}: no answer once the network was well again")
    return answered, wrong


class BadNetwork(unittest.IsolatedAsyncioTestCase):
    async def test_random_schedules(self):
        await asyncio.to_thread(port)
        lived = Lived()
        counting = asyncio.ensure_future(lived.count())
        total = 0
        for seed in range(0, SCHEDULES, AT_ONCE):
            results = await asyncio.gather(*(live(seed + at, lived) for at in range(AT_ONCE)))
            self.assertEqual([what for _, wrong in results for what in wrong], [])
            total += sum(answered for answered, _ in results)
        counting.cancel()
        self.assertGreaterEqual(total, SCHEDULES)

    async def test_a_link_that_stands_still_is_lost_told_and_opened_anew(self):
        await asyncio.to_thread(port)
        async with TcpProxy(port()) as proxy:
            async with await tp.AsyncTurboPiClient.connect(f"127.0.0.1:{proxy.port}", backoff_ms=(5, 50)) as client:
                told = []
                again = asyncio.Event()
                client.on("lost", lambda lost: told.append((lost.error.code, lost.final)))
                client.on("reconnecting", lambda _: told.append("reconnecting"))
                client.on("ready", lambda _: again.set())
                proxy.become("swallow")
                with self.assertRaises(tp.LinkError) as raised:
                    await client.infer(observation())
                self.assertEqual(raised.exception.code, "CONNECTION_LOST")
                proxy.become("forward")
                await asyncio.wait_for(again.wait(), 30)
                self.assertEqual(told[:2], [("CONNECTION_LOST", False), "reconnecting"])
                await client.infer(observation())


class WithoutAsyncio(unittest.TestCase):
    """The proxy is on a loop of its own, as the network is."""

    def setUp(self):
        upstream = port()
        self.loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        thread.start()
        self.proxy = TcpProxy(upstream)
        asyncio.run_coroutine_threadsafe(self.proxy.__aenter__(), self.loop).result()

        def stop():
            asyncio.run_coroutine_threadsafe(self.proxy.__aexit__(), self.loop).result()
            self.loop.call_soon_threadsafe(self.loop.stop)
            thread.join()
            self.loop.close()

        self.addCleanup(stop)

    def become(self, *weather):
        self.loop.call_soon_threadsafe(self.proxy.become, *weather)

    def test_a_call_of_many_threads_ends_with_its_deadline(self):
        with tp.TurboPiClient.connect(f"127.0.0.1:{self.proxy.port}", backoff_ms=(5, 50)) as client:
            for weather in (("swallow",), ("cut", 3), ("drop",)):
                self.become("forward")
                client.infer(observation())
                self.become(*weather)
                took = []

                def ask():
                    start = time.monotonic()
                    try:
                        client.infer(observation(), tp.ObserveOptions(deadline_ms=200))
                    except tp.ClientError:
                        took.append(time.monotonic() - start)

                threads = [threading.Thread(target=ask) for _ in range(4)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join(30)
                self.assertEqual(len(took), 4, weather)
                self.assertLess(max(took), 0.2 + LIMIT_S + 5, weather)

    def test_the_drop_in_for_openpi_gives_up_and_connects_again(self):
        with WebsocketClientPolicy("127.0.0.1", self.proxy.port, timeout_s=1) as policy:
            self.become("swallow")
            start = time.monotonic()
            with self.assertRaises(tp.ClientError):
                policy.infer(observation())
            self.assertLess(time.monotonic() - start, 1 + LIMIT_S + 5)
            self.become("drop")
            with self.assertRaises(tp.ClientError):
                policy.infer(observation())
            self.become("forward")
            for _ in range(10):
                try:
                    answer = policy.infer(observation())
                    break
                except tp.ClientError:
                    pass
            self.assertEqual(len(answer["actions"]), 10)

"""The client against a real server: answers, streams, errors, the drop-in."""

import asyncio
import importlib.util
import threading
import time
import unittest
from concurrent.futures import CancelledError

import numpy as np

import turbo_pi_client as tp
from turbo_pi_client.openpi import WebsocketClientPolicy

from .support import observation, server_port

HAS_PILLOW = importlib.util.find_spec("PIL") is not None


def address():
    return f"127.0.0.1:{server_port()}"


class Infer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.client = tp.TurboPiClient.connect(address(), robot="arm-1")
        cls.addClassCleanup(cls.client.close)

    def test_an_observation_is_answered_with_a_chunk(self):
        chunk = self.client.infer(observation(), tp.ObserveOptions(seed=7, deadline_ms=20_000))
        metadata = self.client.metadata
        self.assertEqual(chunk.actions.shape, (metadata.action_horizon, metadata.action_size))
        self.assertTrue(np.isfinite(chunk.actions).all())
        self.assertEqual((chunk.seed, chunk.model, chunk.session), (7, metadata.model, metadata.session))
        self.assertEqual(chunk.valid_until, chunk.captured_at + 20_000)
        self.assertFalse(chunk.late)
        self.assertGreater(chunk.observation_age_ms, 0)

    def test_a_seed_repeats_an_answer_bit_for_bit_and_noise_too(self):
        first, second = (self.client.infer(observation(3), tp.ObserveOptions(seed=1)) for _ in range(2))
        np.testing.assert_array_equal(first.actions, second.actions)
        other = self.client.infer(observation(3), tp.ObserveOptions(seed=2))
        self.assertFalse(np.array_equal(first.actions, other.actions))
        noise = np.random.default_rng(0).standard_normal((10, 32))
        given = [self.client.infer(observation(3), tp.ObserveOptions(noise=n)) for n in (noise, noise.ravel())]
        self.assertIsNone(given[0].seed)
        np.testing.assert_array_equal(given[0].actions, given[1].actions)

    def test_what_the_server_refuses_is_raised_and_the_next_call_is_answered(self):
        for options, pointer in (
            (tp.ObserveOptions(num_steps=99), "/options/num_steps"),
            (tp.ObserveOptions(seed=-1), "/options/seed"),
            (tp.ObserveOptions(noise=[1.0, 2.0, 3.0]), "/options/noise"),
            (tp.ObserveOptions(deadline_ms=0), "/deadline_ms"),
        ):
            with self.assertRaises(tp.RemoteError) as raised:
                self.client.infer(observation(), options)
            self.assertTrue(any(field["pointer"].startswith(pointer) for field in raised.exception.fields))
        with self.assertRaises(tp.RemoteError) as raised:
            self.client.infer({"observation/state": np.zeros(3)})
        self.assertEqual(raised.exception.code, "OBSERVATION_INVALID")
        self.assertEqual(len(self.client.infer(observation()).actions), 10)

    def test_what_cannot_travel_is_raised_and_the_next_call_is_answered(self):
        with self.assertRaisesRegex(TypeError, "observation/state"):
            self.client.infer({"observation/state": object()})
        with self.assertRaises(tp.RemoteError) as raised:
            self.client.infer(observation(), tp.ObserveOptions(seed=2**80))
        self.assertEqual(raised.exception.code, "OBSERVATION_INVALID")
        self.client.infer(observation())

    def test_a_reset_forgets_what_is_carried_over(self):
        self.client.infer(observation())
        self.client.infer({"observation/state": np.ones(8, dtype=np.float32)})
        self.client.reset()
        with self.assertRaises(tp.RemoteError):
            self.client.infer({"observation/state": np.ones(8, dtype=np.float32)})

    def test_an_array_may_be_overwritten_once_it_is_submitted(self):
        given = observation(9)
        options = tp.ObserveOptions(seed=5)
        expected = self.client.infer(observation(9), options)
        futures = [self.client.submit(given, options) for _ in range(3)]
        given["observation/image"][:] = 255
        given["observation/state"][:] = 1
        for future in futures:
            np.testing.assert_array_equal(future.result().actions, expected.actions)

    def test_the_clock_of_the_server_is_known(self):
        sample = self.client.measure_link(60_000)
        error = abs(tp.now_ms() + sample.offset_ms - time.time() * 1000)
        self.assertLess(error, 1000 + sample.round_trip_ms / 2)

    def test_a_stream_gives_the_freshest_chunks(self):
        with self.client.stream() as stream:
            with self.assertRaises(RuntimeError):
                self.client.infer(observation())
            for shade in range(20):
                stream.push(observation(shade))
            newest = tp.now_ms()
            stream.push(observation(20), tp.ObserveOptions(captured_at=newest))
            chunk = stream.get(20)
            while chunk is not None and chunk.captured_at < newest:
                chunk = stream.get(20)
            self.assertIsNotNone(chunk)
            self.assertLess(chunk.seq, 20, "what found no room was replaced before it was sent")
            self.assertIsNone(stream.get(0.05), "a chunk is given once")
        self.assertEqual(list(stream), [], "a closed stream ends")
        self.client.infer(observation())

    def test_a_stream_raises_what_the_server_refuses(self):
        with self.client.stream() as stream:
            stream.push(observation(), tp.ObserveOptions(num_steps=99))
            with self.assertRaises(tp.RemoteError):
                stream.get(20)

    def test_a_submitted_call_may_be_cancelled(self):
        first, second = self.client.submit(observation()), self.client.submit(observation())
        self.assertTrue(second.cancel())
        first.result()
        self.client.infer(observation())

    @unittest.skipUnless(HAS_PILLOW, "Pillow is not installed")
    def test_images_travel_as_jpeg_files_when_told_to(self):
        options = tp.ObserveOptions(seed=3)
        with tp.TurboPiClient.connect(address(), jpeg_quality=90) as client:
            plain, jpeg = self.client.infer(observation(128), options), client.infer(observation(128), options)
        np.testing.assert_allclose(jpeg.actions, plain.actions, atol=0.05)
        with self.assertRaises(ValueError):
            tp.TurboPiClient.connect(address(), jpeg_quality=0)


class Connecting(unittest.TestCase):
    def test_a_server_that_is_not_there_is_waited_for_so_long(self):
        start = time.monotonic()
        with self.assertRaises(tp.DeadlineError):
            tp.TurboPiClient.connect("127.0.0.1:1", wait_ms=300)
        self.assertLess(time.monotonic() - start, 5)

    def test_a_refusal_is_final(self):
        with self.assertRaises(tp.LinkError) as raised:
            tp.TurboPiClient.connect(f"{address()}/nowhere")
        self.assertEqual(raised.exception.code, "CONNECTION_REFUSED")
        with self.assertRaises(tp.ModelMismatchError):
            tp.TurboPiClient.connect(address(), expected_model="another")
        with self.assertRaises(tp.RemoteError):
            tp.TurboPiClient.connect(address(), robot="no name!")
        with self.assertRaises(ValueError):
            tp.TurboPiClient.connect("ftp://robot-server")

    def test_a_closed_client_answers_at_once(self):
        client = tp.TurboPiClient.connect(f"http://{address()}/stream")
        client.close()
        client.close()
        with self.assertRaises(tp.LinkError) as raised:
            client.infer(observation())
        self.assertEqual(raised.exception.code, "CONNECTION_CLOSED")

    def test_a_listener_cannot_wait_for_its_client(self):
        told = []

        def listen(_):
            try:
                client.infer(observation())
            except RuntimeError as error:
                told.append(error)

        with tp.TurboPiClient.connect(address()) as client:
            client.on("lost", listen)
            client._loop.call(lambda: client._client._driver.core.disconnected("by the test", False, tp.now_ms()))
        self.assertEqual(len(told), 1)

    def test_close_ends_the_calls_of_other_threads(self):
        client = tp.TurboPiClient.connect(address())
        stream_ended = threading.Event()
        stream = client.stream()
        threading.Thread(target=lambda: (list(stream), stream_ended.set()), daemon=True).start()
        time.sleep(0.05)
        client.close()
        self.assertTrue(stream_ended.wait(10))
        client = tp.TurboPiClient.connect(address())
        futures = [client.submit(observation()) for _ in range(4)]
        client.close()
        for future in futures[1:]:
            with self.assertRaises((tp.LinkError, CancelledError)):
                future.result(10)


class Asyncio(unittest.IsolatedAsyncioTestCase):
    async def test_calls_take_turns_and_a_cancelled_task_ends_its_call(self):
        async with await tp.AsyncTurboPiClient.connect(address()) as client:
            chunks = await asyncio.gather(*(client.infer(observation()) for _ in range(3)))
            self.assertEqual(len({chunk.seq for chunk in chunks}), 3)
            task = client.submit(observation())
            await asyncio.sleep(0)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
            await client.infer(observation())

    async def test_an_executor_plays(self):
        async with await tp.AsyncTurboPiClient.connect(address()) as client:
            executor = tp.ChunkExecutor(client, strategy="aligned", hertz=50, starvation="hold")
            merged = []

            def act(tick):
                if len(merged) == 3:
                    playing.cancel()

            executor.on(tp.Merged, merged.append)
            playing = asyncio.ensure_future(
                tp.run_executor_async(executor, hertz=50, observe=observation, act=act)
            )
            with self.assertRaises(asyncio.CancelledError):
                await asyncio.wait_for(playing, 60)
            self.assertEqual(len(merged), 3)

    async def test_a_stream_is_iterated(self):
        async with await tp.AsyncTurboPiClient.connect(address()) as client:
            async with client.stream() as stream:
                stream.push(observation())
                async for chunk in stream:
                    self.assertEqual(chunk.seq, 0)
                    stream.close()

    async def test_close_ends_what_waits(self):
        client = await tp.AsyncTurboPiClient.connect(address())
        task = client.submit(observation())
        await asyncio.sleep(0)
        await client.close()
        with self.assertRaises(tp.LinkError) as raised:
            await task
        self.assertEqual(raised.exception.code, "CONNECTION_CLOSED")


class OpenpiDropIn(unittest.TestCase):
    def test_it_asks_as_the_client_of_openpi_does(self):
        with WebsocketClientPolicy(host="127.0.0.1", port=server_port()) as policy:
            self.assertIsInstance(policy.get_server_metadata(), dict)
            answer = policy.infer(observation())
            self.assertEqual(answer["actions"].shape, (10, 7))
            self.assertIn("policy_timing", answer)
            self.assertIsNone(policy.reset())

    def test_an_error_is_raised_and_the_next_call_is_answered(self):
        with WebsocketClientPolicy(f"ws://127.0.0.1:{server_port()}") as policy:
            with self.assertRaisesRegex(RuntimeError, "observation~1image is required"):
                policy.infer({"prompt": "nothing else"})
            self.assertEqual(len(policy.infer(observation())["actions"]), 10)

    def test_it_waits_for_a_server_so_long(self):
        with self.assertRaises(tp.ClientError):
            WebsocketClientPolicy("127.0.0.1", 1, wait_s=0.3)


class RealExecutor(unittest.TestCase):
    def test_every_strategy_plays_chunks_of_the_server(self):
        for strategy in tp.STRATEGIES:
            with self.subTest(strategy), tp.TurboPiClient.connect(address()) as client:
                executor = tp.ChunkExecutor(client, strategy=strategy, hertz=50, starvation="hold")
                merged, failed, ticks = [], [], []
                stop = threading.Event()
                executor.on(tp.Merged, merged.append)
                executor.on(tp.Failed, failed.append)

                def act(tick):
                    ticks.append(tick)
                    if len(merged) == 4 or len(ticks) == 3000:
                        stop.set()

                tp.run_executor(executor, hertz=50, observe=observation, act=act, stop=stop)
                self.assertEqual(failed, [])
                self.assertEqual(len(merged), 4)
                self.assertIn("seam", {tick.source for tick in ticks})
                if strategy == "rtc":
                    continued = [event.chunk.rtc["mode"] for event in merged if event.chunk.rtc]
                    self.assertIn("guided", continued)

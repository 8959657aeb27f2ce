"""A server of this repository, a bad network in front of it, and what a robot sees."""

import asyncio
import atexit
import functools
import pathlib
import re
import signal
import subprocess
import tempfile

import numpy as np

REPOSITORY = pathlib.Path(__file__).parents[3]
START_S = 120


def observation(shade=0, **fields):
    image = np.full((64, 64, 3), shade, dtype=np.uint8)
    return {
        "observation/image": image,
        "observation/wrist_image": image,
        "observation/state": np.zeros(8, dtype=np.float32),
        "prompt": "pick up the red block",
        **fields,
    }


@functools.cache
def server_port(*options):
    """Port of a server of policies/tabletop, started once for each set of options; it ends with the tests."""
    folder = tempfile.TemporaryDirectory()
    log = pathlib.Path(folder.name) / "log"
    arguments = ["--policy", "policies/tabletop", "--runtime", "cpu", "--threads", "1", "--port", "0", *options]
    with log.open("wb") as file:
        server = subprocess.Popen(
            ["node", "--import=tsx", "src/cli.ts", "serve", "--cache-dir", folder.name, *arguments],
            cwd=REPOSITORY,
            stdout=file,
            stderr=file,
        )

    def stop():
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        folder.cleanup()

    atexit.register(stop)
    for _ in range(START_S * 10):
        found = re.search(r"listening at http://127\.0\.0\.1:(\d+)", log.read_text())
        if found:
            return int(found[1])
        if server.poll() is not None:
            break
        try:
            server.wait(0.1)
        except subprocess.TimeoutExpired:
            pass
    raise RuntimeError(f"The server did not start:\n{log.read_text()}")


class TcpProxy:
    """
    A network of one TCP server that does what a test says. `weather`: ("forward",); ("swallow",) takes everything and
    passes nothing on; ("delay", s) passes everything on so much later; ("drop",) ends every connection at once; ("cut",
    bytes) passes on a few bytes of what comes next, then ends the connection.
    """

    def __init__(self, port):
        self._upstream = port
        self._writers = set()
        self.weather = ("forward",)

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        self._abort()

    def become(self, *weather):
        self.weather = weather
        if weather[0] == "drop":
            self._abort()

    def _abort(self):
        for writer in list(self._writers):
            writer.transport.abort()

    async def _join(self, reader, writer):
        if self.weather[0] == "drop":
            writer.transport.abort()
            return
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, up_writer}
        self._writers |= pair
        await asyncio.gather(self._pass(reader, up_writer, pair), self._pass(up_reader, writer, pair))
        self._writers -= pair

    async def _pass(self, reader, writer, pair):
        try:
            while data := await reader.read(65536):
                kind, *amount = self.weather
                if kind == "forward":
                    writer.write(data)
                elif kind == "delay":
                    asyncio.get_running_loop().call_later(amount[0], writer.write, data)
                elif kind == "cut":
                    writer.write(data[: amount[0]])
                    await asyncio.sleep(0)
                    break
        except OSError:
            pass
        for one in pair:
            one.transport.abort()

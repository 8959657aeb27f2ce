"""A recording as Python's readers see it, and the dataset that is made of it. test.sh makes both."""

import io
import json
import os
import random
import unittest
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from mcap.exceptions import McapError
from mcap.reader import make_reader
from mcap.stream_reader import StreamReader
from mcap.records import Chunk, Message
from mcap_protobuf.decoder import DecoderFactory
from PIL import Image

RECORDING = next(Path(os.environ["RECORDINGS"]).glob("*.mcap"))
DATASET = Path(os.environ["DATASET"])


class Recording(unittest.TestCase):
    def test_it_is_whole_and_every_crc_is_right(self):
        with RECORDING.open("rb") as file:
            reader = make_reader(file, validate_crcs=True)
            summary = reader.get_summary()
            counts = {
                channel.topic: summary.statistics.channel_message_counts[number]
                for number, channel in summary.channels.items()
            }
            messages = list(reader.iter_messages())
        self.assertEqual(len(messages), sum(counts.values()))
        for robot in ("arm-1", "arm-2"):
            for channel in ("camera/observation/image", "state", "prompt", "chunk"):
                self.assertEqual(counts[f"/robots/{robot}/{channel}"], 20, channel)
        self.assertEqual(counts["/robots/arm-1/executed"], 20)
        self.assertEqual(counts["/robots/arm-1/mark"], 1)
        self.assertNotIn("/recorder/dropped", counts)
        for schema, channel, message in messages:
            if schema.encoding == "jsonschema":
                self.assertEqual(json.loads(schema.data)["type"], "object")
                content = json.loads(message.data)
                for name in json.loads(schema.data).get("required", []):
                    self.assertIn(name, content, channel.topic)

    def test_pictures_are_foxgloves(self):
        with RECORDING.open("rb") as file:
            reader = make_reader(file, decoder_factories=[DecoderFactory()])
            topics = ["/robots/arm-1/camera/observation/image"]
            pictures = [decoded for *_, decoded in reader.iter_decoded_messages(topics=topics)]
        for token, picture in enumerate(pictures):
            self.assertEqual((picture.width, picture.height, picture.step, picture.encoding), (4, 4, 12, "rgb8"))
            self.assertEqual(picture.data, bytes([3 * token]) * 48)
            self.assertEqual(picture.frame_id, "observation/image")
            self.assertGreater(picture.timestamp.ToSeconds(), 1_700_000_000)

    def test_it_may_be_cut_anywhere(self):
        whole = RECORDING.read_bytes()
        chunks = list(ends_of_chunks(whole))
        self.assertGreater(len(chunks), 0)
        rng = random.Random(0)
        for _ in range(100):
            length = rng.randrange(8, len(whole) - 1)
            expected = sum(count for end, count in chunks if end <= length)
            self.assertEqual(messages_before_the_cut(whole[:length]), expected, length)


def ends_of_chunks(whole):
    """Where each chunk record ends, and how many messages it holds."""
    at = 8
    while at < len(whole) - 8:
        opcode, length = whole[at], int.from_bytes(whole[at + 1 : at + 9], "little")
        end = at + 9 + length
        if opcode == 0x06:
            yield end, messages_before_the_cut(whole[:8] + whole[at:end])
        at = end


def messages_before_the_cut(data):
    count = 0
    try:
        for record in StreamReader(io.BytesIO(data), validate_crcs=True).records:
            count += isinstance(record, Message)
    except (McapError, EOFError, ValueError, OSError):
        pass
    except Exception as error:  # struct.error of a header that is cut
        if type(error).__name__ not in ("error", "EndOfFile"):
            raise
    return count


class Dataset(unittest.TestCase):
    def setUp(self):
        self.info = json.loads((DATASET / "meta/info.json").read_text())
        self.data = pq.read_table(DATASET / "data/chunk-000/file-000.parquet")

    def test_its_frames_are_those_of_the_recording(self):
        self.assertEqual(self.info["codebase_version"], "v3.0")
        self.assertEqual((self.info["total_frames"], self.info["total_episodes"], self.info["total_tasks"]), (40, 3, 2))
        self.assertEqual(self.data.num_rows, 40)
        self.assertEqual(set(self.data.column_names), set(self.info["features"]))
        rows = self.data.to_pylist()
        self.assertEqual([row["index"] for row in rows], list(range(40)))
        reported = [row for row in rows if row["action"][0] == np.float32(0.5) and row["action"][1] == -5]
        self.assertEqual(len(reported), 1, "the action that arm-1 reported after its sixth observation")
        self.assertEqual(reported[0]["observation.state"], [5, 0])
        for row in rows:
            token = row["observation.state"][0]
            picture = Image.open(io.BytesIO(row["observation.images.image"]["bytes"]))
            self.assertEqual(picture.size, (4, 4))
            self.assertEqual(set(np.asarray(picture).ravel()), {3 * int(token)})
            self.assertAlmostEqual(row["timestamp"], row["frame_index"] / self.info["fps"], places=5)
        done = [row for row in rows if row["next.done"]]
        self.assertEqual(len(done), 3)
        self.assertEqual(sum(row["next.success"] for row in rows), 1)

    def test_types_are_those_that_lerobot_reads(self):
        types = {field.name: str(field.type) for field in self.data.schema}
        self.assertEqual(types["action"], "list<element: float>")
        self.assertEqual(types["observation.images.image"], "struct<bytes: binary, path: string>")
        self.assertEqual(types["timestamp"], "float")
        for name in ("frame_index", "episode_index", "index", "task_index"):
            self.assertEqual(types[name], "int64")

    def test_tasks_and_episodes(self):
        tasks = pq.read_table(DATASET / "meta/tasks.parquet").to_pandas()
        self.assertEqual(tasks.index.name, "task")
        self.assertEqual(dict(tasks["task_index"]), {"lift it": 0, "put it down": 1})
        episodes = pq.read_table(DATASET / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
        self.assertEqual(sorted(row["length"] for row in episodes), [10, 10, 20])
        for row in episodes:
            frames = self.data.slice(row["dataset_from_index"], row["length"])
            self.assertEqual(set(frames["episode_index"].to_pylist()), {row["episode_index"]})
            index = dict(tasks["task_index"])[row["tasks"][0]]
            self.assertEqual(set(frames["task_index"].to_pylist()), {index})
            self.assertEqual(row["dataset_to_index"] - row["dataset_from_index"], row["length"])

    def test_statistics_are_those_of_numpy(self):
        stats = json.loads((DATASET / "meta/stats.json").read_text())
        for name in ("observation.state", "action"):
            values = np.array(self.data[name].to_pylist())
            np.testing.assert_allclose(stats[name]["mean"], values.mean(axis=0), rtol=1e-6, atol=1e-7)
            np.testing.assert_allclose(stats[name]["std"], values.std(axis=0), rtol=1e-6, atol=1e-7)
            np.testing.assert_allclose(stats[name]["q99"], np.quantile(values, 0.99, axis=0), rtol=1e-6, atol=1e-7)
            self.assertEqual(stats[name]["count"], [40])
        pictures = np.array([3 * row[0] for row in self.data["observation.state"].to_pylist()]) / 255
        np.testing.assert_allclose(stats["observation.images.image"]["mean"], np.full((3, 1, 1), pictures.mean()), rtol=1e-6)
        np.testing.assert_allclose(stats["observation.images.image"]["std"], np.full((3, 1, 1), pictures.std()), rtol=1e-5)


if __name__ == "__main__":
    unittest.main()

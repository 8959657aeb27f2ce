"""Triton's own clients, unmodified, ask a policy over both wires and get the actions of POST /infer. Run by test.sh from the root."""

import base64
import json
import os
import struct
import subprocess
import unittest
import urllib.request

import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from PIL import Image
from tritonclient.utils import InferenceServerException

KEY = "a-key"
HEADERS = {"authorization": f"Api-Key {KEY}"}
SERVE = ["node", "--import=tsx", "src/cli.ts", "serve", "--log-format", "json"]
MODEL = "tiny-libero"
SEED = 7


def example(name: str) -> bytes:
    with open(os.path.join("examples", name), "rb") as file:
        return file.read()


IMAGE, WRIST = example("image.jpg"), example("wrist_image.jpg")
# Numbers that float32 has exactly, so that every wire carries the same state.
STATE = np.array([[0.5, 0.625, 0.25, 0, 0, 0, 0.03125, -0.03125]], dtype=np.float32)
PROMPT = "pick up the red block"


server: subprocess.Popen
SERVER = GRPC_SERVER = ""


def setUpModule() -> None:
    """Starts a server on free ports, which its log tells."""
    global server, SERVER, GRPC_SERVER
    options = ["--policy", f"policies/{MODEL}", "--port", "0", "--grpc-port", "0"]
    server = subprocess.Popen(SERVE + options, stdout=subprocess.PIPE, env={**os.environ, "TURBO_PI_API_KEY": KEY})
    for line in server.stdout:
        told = json.loads(line)
        if "grpcPort" in told:
            GRPC_SERVER = f"127.0.0.1:{told['grpcPort']}"
        if told["msg"] == "ready":
            SERVER = told["url"].removeprefix("http://").rstrip("/")
            return
    raise RuntimeError("the server ended before it was ready")


def tearDownModule() -> None:
    server.terminate()
    server.stdout.close()
    if server.wait(30) != 0:
        raise RuntimeError("the server did not end cleanly")


def pixels(file: str) -> np.ndarray:
    with Image.open(os.path.join("examples", file)) as image:
        return np.asarray(image.convert("RGB"))[None]


def post_infer(images: tuple[object, object], prompt: str, seed: int) -> np.ndarray:
    """What POST /infer answers, in float32."""
    body = {
        "observation/image": images[0],
        "observation/wrist_image": images[1],
        "observation/state": STATE[0].tolist(),
        "prompt": prompt,
        "options": {"seed": seed},
    }
    request = urllib.request.Request(
        f"http://{SERVER}/infer",
        json.dumps(body).encode(),
        {**HEADERS, "content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        return np.array(json.load(response)["actions"], dtype=np.float32)


def base64_files() -> tuple[str, str]:
    return base64.b64encode(IMAGE).decode(), base64.b64encode(WRIST).decode()


def raw_images() -> tuple[object, object]:
    def raw(image: np.ndarray) -> object:
        _, height, width, _ = image.shape
        data = base64.b64encode(image.tobytes()).decode()
        return {"data": data, "encoding": "rgb8", "width": width, "height": height}

    return raw(pixels("image.jpg")), raw(pixels("wrist_image.jpg"))


class Wire:
    """The two clients have the same classes; a test is run with both."""

    module: object

    def client(self, **options: object) -> object:
        raise NotImplementedError

    def tensor(self, name: str, values: np.ndarray, datatype: str, **how: object) -> object:
        tensor = self.module.InferInput(name, list(values.shape), datatype)
        tensor.set_data_from_numpy(values, **how)
        return tensor

    def observation(self, images: tuple[np.ndarray, np.ndarray], datatype: str, count: int = 1, **how: object) -> list:
        prompts = np.array([PROMPT if row == 0 else f"{PROMPT}, again {row}" for row in range(count)], dtype=np.object_)
        repeated = [np.repeat(image, count, axis=0) for image in images]
        return [
            self.tensor("observation/image", repeated[0], datatype, **how),
            self.tensor("observation/wrist_image", repeated[1], datatype, **how),
            self.tensor("observation/state", np.repeat(STATE, count, axis=0), "FP32", **how),
            self.tensor("prompt", prompts, "BYTES", **how),
        ]

    def raw(self, count: int = 1) -> list:
        return self.observation((pixels("image.jpg"), pixels("wrist_image.jpg")), "UINT8", count)

    def files(self, **how: object) -> list:
        files = [np.array([file], dtype=np.object_) for file in (IMAGE, WRIST)]
        return self.observation((files[0], files[1]), "BYTES", **how)

    def infer(self, inputs: list, seed: int = SEED, **options: object) -> object:
        with self.client() as client:
            return client.infer(MODEL, inputs, headers=dict(HEADERS), parameters={"seed": seed}, **options)

    def test_health_and_metadata(self) -> None:
        with self.client() as client:
            self.assertTrue(client.is_server_live())
            self.assertTrue(client.is_server_ready())
            self.assertTrue(client.is_model_ready(MODEL))
            self.assertTrue(client.is_model_ready(MODEL, "1"))
            server = self.metadata(client.get_server_metadata(headers=dict(HEADERS)))
            self.assertEqual(server["name"], "turbo-pi")
            self.assertIn("binary_tensor_data", server["extensions"])
            model = self.metadata(client.get_model_metadata(MODEL, headers=dict(HEADERS)))
            shapes = {one["name"]: [int(side) for side in one["shape"]] for one in model["inputs"] + model["outputs"]}
            self.assertEqual(shapes["observation/state"], [-1, 8])
            self.assertEqual(shapes["observation/image"], [-1, -1, -1, 3])
            self.assertEqual(shapes["actions"], [-1, 10, 7])

    def metadata(self, given: object) -> dict:
        return given

    def test_raw_pixels_get_the_actions_of_post_infer(self) -> None:
        result = self.infer(self.raw())
        np.testing.assert_array_equal(result.as_numpy("actions")[0], post_infer(raw_images(), PROMPT, SEED))
        report = json.loads(result.as_numpy("report")[0])
        self.assertEqual(report["seed"], SEED)
        self.assertEqual(report["guard"]["clamped"], False)

    def test_files_get_the_actions_of_post_infer(self) -> None:
        actions = self.infer(self.files()).as_numpy("actions")
        np.testing.assert_array_equal(actions[0], post_infer(base64_files(), PROMPT, SEED))

    def test_several_observations_get_what_each_gets_alone(self) -> None:
        actions = self.infer(self.raw(3)).as_numpy("actions")
        self.assertEqual(actions.shape, (3, 10, 7))
        for row in range(3):
            prompt = PROMPT if row == 0 else f"{PROMPT}, again {row}"
            alone = post_infer(raw_images(), prompt, SEED)
            # How many rows are computed together shows in the last bits.
            np.testing.assert_allclose(actions[row], alone, rtol=0, atol=1e-4)
        self.assertGreater(np.abs(actions[0] - actions[1]).max(), 0)

    def test_one_output_may_be_asked_for(self) -> None:
        result = self.infer(self.files(), outputs=[self.module.InferRequestedOutput("actions")])
        self.assertIsNone(result.as_numpy("report"))
        self.assertEqual(result.as_numpy("actions").dtype, np.float32)

    def test_the_id_of_a_request_comes_back(self) -> None:
        response = self.metadata(self.infer(self.files(), request_id="grasp-1").get_response())
        self.assertEqual((response["id"], response["model_name"], response["model_version"]), ("grasp-1", MODEL, "1"))

    def test_errors_say_what_is_wrong(self) -> None:
        image, wrist, _, prompt = self.files()
        short = [image, wrist, self.tensor("observation/state", STATE[:, :7].copy(), "FP32"), prompt]
        with self.assertRaises(InferenceServerException) as caught:
            self.infer(short)
        self.assertIn("OBSERVATION_INVALID: /observation~1state must hold 8 numbers, got 7", caught.exception.message())
        self.assertEqual(caught.exception.status(), self.invalid)
        with self.assertRaises(InferenceServerException) as caught, self.client() as client:
            client.infer("other", self.files(), headers=dict(HEADERS))
        self.assertIn("NOT_FOUND: There is no model other", caught.exception.message())
        with self.assertRaises(InferenceServerException) as caught, self.client() as client:
            client.infer(MODEL, self.files())
        self.assertIn("UNAUTHORIZED", caught.exception.message())

    def test_a_timeout_in_microseconds_is_the_deadline(self) -> None:
        with self.assertRaises(InferenceServerException) as caught:
            self.infer(self.files(), timeout=1)
        self.assertIn("DEADLINE_EXCEEDED", caught.exception.message())


class Http(Wire, unittest.TestCase):
    module = triton_http
    invalid = "422"

    def client(self, **options: object) -> object:
        return triton_http.InferenceServerClient(SERVER, **options)

    def test_compressed_requests(self) -> None:
        expected = post_infer(base64_files(), PROMPT, SEED)
        for algorithm in ("gzip", "deflate"):
            with self.subTest(algorithm):
                result = self.infer(self.files(), request_compression_algorithm=algorithm)
                np.testing.assert_array_equal(result.as_numpy("actions")[0], expected)

    def test_compressed_answers_may_be_asked_for(self) -> None:
        result = self.infer(self.files(), response_compression_algorithm="gzip")
        self.assertEqual(result.as_numpy("actions").shape, (1, 10, 7))

    def test_json_without_binary_data(self) -> None:
        inputs = [
            *self.raw()[:2],
            self.tensor("observation/state", STATE, "FP32", binary_data=False),
            self.tensor("prompt", np.array([PROMPT], dtype=np.object_), "BYTES", binary_data=False),
        ]
        outputs = [triton_http.InferRequestedOutput(name, binary_data=False) for name in ("actions", "report")]
        result = self.infer(inputs, outputs=outputs)
        np.testing.assert_array_equal(result.as_numpy("actions")[0], post_infer(raw_images(), PROMPT, SEED))
        self.assertEqual(json.loads(result.as_numpy("report")[0])["seed"], SEED)


class Grpc(Wire, unittest.TestCase):
    module = triton_grpc
    invalid = "StatusCode.INVALID_ARGUMENT"

    def client(self, **options: object) -> object:
        return triton_grpc.InferenceServerClient(GRPC_SERVER, **options)

    def metadata(self, given: object) -> dict:
        from google.protobuf.json_format import MessageToDict

        return MessageToDict(given, preserving_proto_field_name=True)

    def test_a_call_that_is_given_up_ends(self) -> None:
        with self.client() as client, self.assertRaises(InferenceServerException) as caught:
            client.infer(MODEL, self.files(), headers=dict(HEADERS), client_timeout=0.0005)
        self.assertIn("DEADLINE_EXCEEDED", str(caught.exception.status()))

    def test_typed_contents(self) -> None:
        from tritonclient.grpc import service_pb2, service_pb2_grpc
        import grpc

        request = service_pb2.ModelInferRequest(model_name=MODEL)
        request.parameters["seed"].int64_param = SEED
        for name, datatype in (("observation/image", IMAGE), ("observation/wrist_image", WRIST)):
            tensor = request.inputs.add(name=name, datatype="BYTES", shape=[1])
            tensor.contents.bytes_contents.append(datatype)
        state = request.inputs.add(name="observation/state", datatype="FP32", shape=[1, 8])
        state.contents.fp32_contents.extend(STATE[0].tolist())
        prompt = request.inputs.add(name="prompt", datatype="BYTES", shape=[1])
        prompt.contents.bytes_contents.append(PROMPT.encode())
        with grpc.insecure_channel(GRPC_SERVER) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            response = stub.ModelInfer(request, metadata=list(HEADERS.items()))
        actions = np.array(struct.unpack("<70f", response.raw_output_contents[0]), dtype=np.float32).reshape(10, 7)
        np.testing.assert_array_equal(actions, post_infer(base64_files(), PROMPT, SEED))


if __name__ == "__main__":
    unittest.main(verbosity=2)

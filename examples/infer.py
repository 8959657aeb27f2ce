"""Posts an observation with two JPEG files to a Turbo-Pi server. Python's standard library is enough."""

import base64
import json
import os
import pathlib
import sys
import urllib.request

here = pathlib.Path(__file__).parent
server = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"


def image(name):
    return base64.b64encode((here / name).read_bytes()).decode("ascii")


observation = {
    "observation/image": image("image.jpg"),
    "observation/wrist_image": image("wrist_image.jpg"),
    "observation/state": json.loads((here / "state.json").read_text()),
    "prompt": (here / "prompt.txt").read_text().strip(),
    "options": {"num_steps": 10, "seed": 7},
}
headers = {"content-type": "application/json"}
if "TURBO_PI_API_KEY" in os.environ:
    headers["authorization"] = "Api-Key " + os.environ["TURBO_PI_API_KEY"]
request = urllib.request.Request(server + "/infer", json.dumps(observation).encode(), headers)
with urllib.request.urlopen(request) as response:
    answer = json.load(response)

print(len(answer["actions"]), "actions of", len(answer["actions"][0]), "numbers; the first:", answer["actions"][0])

import sys

from openapi_client import ApiClient, Configuration, InferenceApi, InferenceOptions, Observation

url, key, example = sys.argv[1:]
configuration = Configuration(host=url, api_key={"apiKey": key}, api_key_prefix={"apiKey": "Api-Key"})
with ApiClient(configuration) as client:
    api = InferenceApi(client)
    shape = api.metadata().shape
    observation = Observation.from_json(example)
    observation.options = InferenceOptions(seed=4294967295, num_steps=2)
    chunk = api.infer(observation)
    assert chunk.seed == 4294967295
    assert len(chunk.actions) == shape.horizon and len(chunk.actions[0]) == shape.action_size
    print(f"{len(chunk.actions)} × {len(chunk.actions[0])} actions")

"""Loads the dataset of record.ts as LeRobot's users do, and looks at every frame."""

import os

import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset

dataset = LeRobotDataset("local/recorded", root=os.environ["DATASET"])
assert (dataset.num_frames, dataset.num_episodes) == (40, 3), (dataset.num_frames, dataset.num_episodes)
for frame in torch.utils.data.DataLoader(dataset, batch_size=1):
    token = frame["observation.state"][0, 0].item()
    picture = frame["observation.images.image"][0]
    assert picture.shape == (3, 4, 4), picture.shape
    assert torch.allclose(picture, torch.full_like(picture, 3 * token / 255)), token
    assert frame["action"].shape == (1, 2)
    assert frame["task"][0] in ("lift it", "put it down")
windows = LeRobotDataset("local/recorded", root=os.environ["DATASET"], delta_timestamps={"action": [0, 1 / dataset.fps]})
assert windows[0]["action"].shape == (2, 2)
print(f"{dataset.num_frames} frames in {dataset.num_episodes} episodes were loaded")

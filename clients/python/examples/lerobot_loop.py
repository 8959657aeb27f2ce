"""
Drives a robot of LeRobot (0.4) by a policy of a Turbo-Pi server: actions at the robot's rate, chunks asked for ahead.

    python lerobot_loop.py --robot.type=so101_follower --robot.port=/dev/ttyACM0 \
        --robot.cameras='{front: {type: opencv, index_or_path: 0, width: 640, height: 480, fps: 30}}' \
        --server=robot-server:8000 --task='pick up the red block' \
        --cameras='{front: cameras.front}' --state_key=joints --prompt_key=prompt
"""

import threading
from dataclasses import dataclass, field

import numpy as np

import turbo_pi_client as tp


def observation_of(robot, cameras, state_key, prompt_key, task):
    """
    A robot's observation under the keys of the policy (`curl http://robot-server:8000/metadata` tells them). `cameras`: key of
    the policy by camera of the robot. The state is every number of the robot, in the robot's order, which is to be
    that of the training data.
    """
    seen = robot.get_observation()
    joints = [name for name, kind in robot.observation_features.items() if kind is float]
    keys = {key: seen[camera] for camera, key in cameras.items()}
    keys |= {state_key: np.array([seen[name] for name in joints], dtype=np.float32), prompt_key: task}
    return nested(keys)


def nested(keys):
    """A dot in a key of the policy nests: `cameras.front` is {"cameras": {"front": …}}."""
    tree = {}
    for key, value in keys.items():
        *folders, name = key.split(".")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = value
    return tree


def drive(robot, client, observe, *, hertz, strategy, deadline_ms, stop):
    """Until `stop` is set; a robot without an action holds its last one."""
    executor = tp.ChunkExecutor(
        client,
        strategy=strategy,
        hertz=hertz,
        starvation="hold",
        observe=tp.ObserveOptions(deadline_ms=deadline_ms),
    )
    executor.on(tp.Starved, lambda event: print(f"no action at tick {event.tick}"))
    executor.on(tp.Failed, lambda event: print(f"a call has failed: {event.error}"))
    joints = list(robot.action_features)

    def act(tick):
        if tick.action is not None:
            robot.send_action(dict(zip(joints, map(float, tick.action), strict=True)))

    client.reset()
    tp.run_executor(executor, hertz=hertz, observe=observe, act=act, stop=stop)


def main():
    # What is imported here can be named by --robot.type and in --robot.cameras.
    import draccus
    import lerobot.cameras.opencv
    import lerobot.robots.so_follower  # noqa: F401
    from lerobot.robots import RobotConfig, make_robot_from_config

    @dataclass
    class Config:
        robot: RobotConfig
        task: str
        server: str = "127.0.0.1:8000"
        cameras: dict[str, str] = field(default_factory=dict)
        state_key: str = "joints"
        prompt_key: str = "prompt"
        hertz: float = 30
        strategy: str = "rtc"
        deadline_ms: float = 500

    config = draccus.parse(Config)
    robot = make_robot_from_config(config.robot)
    robot.connect()
    stop = threading.Event()
    try:
        with tp.TurboPiClient.connect(config.server, robot=config.robot.id) as client:
            drive(
                robot,
                client,
                lambda: observation_of(robot, config.cameras, config.state_key, config.prompt_key, config.task),
                hertz=config.hertz,
                strategy=config.strategy,
                deadline_ms=config.deadline_ms,
                stop=stop,
            )
    except KeyboardInterrupt:
        pass
    finally:
        robot.disconnect()


if __name__ == "__main__":
    main()

"""
Success of a policy on a suite of LIBERO, asked as openpi's example asks: a chunk, five of its actions, the next chunk.

    python libero_loop.py --suite libero_spatial --episodes 10 --port 8000

Needs the `libero` package with its simulator. The server resizes the pictures; the robot's side need not.
"""

import argparse
import math
import pathlib

import numpy as np

from turbo_pi_client.openpi import WebsocketClientPolicy

MAX_STEPS = {"libero_spatial": 220, "libero_object": 280, "libero_goal": 300, "libero_10": 520, "libero_90": 400}
"""As openpi's examples/libero has them: somewhat more than the longest demonstration takes."""
SETTLING_STEPS = 10
"""The simulator drops the objects first."""
STAND_STILL = [0, 0, 0, 0, 0, 0, -1]
PIXELS = 256


def axis_angle(quaternion):
    """Of a unit quaternion (x, y, z, w): the axis times the angle in radians, as robosuite gives it."""
    x, y, z, w = quaternion
    w = min(1.0, max(-1.0, w))
    sine = math.sqrt(1 - w * w)
    if math.isclose(sine, 0):
        return np.zeros(3)
    return np.array([x, y, z]) / sine * 2 * math.acos(w)


def observation_of(seen, prompt):
    """LIBERO renders upside down; the policies were trained on pictures turned by half a turn."""
    return {
        "observation/image": np.ascontiguousarray(seen["agentview_image"][::-1, ::-1]),
        "observation/wrist_image": np.ascontiguousarray(seen["robot0_eye_in_hand_image"][::-1, ::-1]),
        "observation/state": np.concatenate(
            [seen["robot0_eef_pos"], axis_angle(seen["robot0_eef_quat"]), seen["robot0_gripper_qpos"]]
        ),
        "prompt": prompt,
    }


def episode(policy, env, initial_state, prompt, max_steps, replan_steps=5):
    """Whether the task was done in time."""
    env.reset()
    policy.reset()
    seen = env.set_init_state(initial_state)
    for _ in range(SETTLING_STEPS):
        seen, *_ = env.step(STAND_STILL)
    plan = []
    for _ in range(max_steps):
        if not plan:
            plan = list(policy.infer(observation_of(seen, prompt))["actions"][:replan_steps])
        seen, _, done, _ = env.step(plan.pop(0).tolist())
        if done:
            return True
    return False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--suite", choices=MAX_STEPS, default="libero_spatial")
    parser.add_argument("--episodes", type=int, default=50, help="of each task")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()

    from libero.libero import benchmark, get_libero_path
    from libero.libero.envs import OffScreenRenderEnv

    suite = benchmark.get_benchmark_dict()[arguments.suite]()
    successes = episodes = 0
    with WebsocketClientPolicy(arguments.host, arguments.port) as policy:
        for number in range(suite.n_tasks):
            task = suite.get_task(number)
            file = pathlib.Path(get_libero_path("bddl_files")) / task.problem_folder / task.bddl_file
            env = OffScreenRenderEnv(bddl_file_name=file, camera_heights=PIXELS, camera_widths=PIXELS)
            env.seed(arguments.seed)
            for initial_state in suite.get_task_init_states(number)[: arguments.episodes]:
                successes += episode(policy, env, initial_state, task.language, MAX_STEPS[arguments.suite])
                episodes += 1
                print(f"{task.language}: {successes} of {episodes} so far", flush=True)
            env.close()


if __name__ == "__main__":
    main()

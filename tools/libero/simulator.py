"""LIBERO's environment of one task: fresh and given scenes, what a policy observes, and the simulator's state."""

import functools
import os
import pathlib
from dataclasses import dataclass

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("PYOPENGL_PLATFORM", os.environ["MUJOCO_GL"])

import numpy as np
from PIL import Image

SUITE, TASKS = "libero_spatial", 10
RENDERED, SENT = 256, 224
"""Pixels a side: what LIBERO's own demonstrations are drawn at, and what policies are sent."""
CAMERAS = ("agentview", "robot0_eye_in_hand")
SETTLING_STEPS = 10
STAND_STILL = np.array([0, 0, 0, 0, 0, 0, -1.0])
STEP_LIMITS = {"libero_spatial": 220, "libero_object": 280, "libero_goal": 300, "libero_10": 520, "libero_90": 400}
"""As openpi's examples/libero has them."""
BOWLS = ("akita_black_bowl_1", "akita_black_bowl_2")
"""The first is the one that LIBERO-Spatial's task names."""
PLATE = "plate_1"
OBSERVED = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos")


@dataclass(frozen=True)
class Snapshot:
    """All that the physics goes on from."""

    physics: np.ndarray
    fixtures: np.ndarray
    gripper: np.ndarray


class Simulator:
    def __init__(self, task: int, *, suite: str = SUITE, seed: int = 7, joint_noise: bool = False, cameras: bool = True):
        """
        `joint_noise`: the arm of a fresh scene starts 0.02 rad a joint off its pose, as in the benchmark's initial states.
        Without `cameras` nothing is ever drawn, and no display is needed.
        """
        self.task, self._suite = task, suite_named(suite)
        self.prompt: str = self._suite.get_task(task).language
        self.env = environment(
            str(bddl_file(self._suite, task)), cameras, initialization_noise="default" if joint_noise else None
        )
        self.env.seed(seed)
        # Also hides the marks on the gripper, which LIBERO shows before the first reset.
        self._reset()

    @property
    def inner(self):
        return self.env.env

    @property
    def sim(self):
        return self.inner.sim

    def initial_states(self) -> np.ndarray:
        """The benchmark's, [50, size]."""
        return np.asarray(self._suite.get_task_init_states(self.task))

    def fresh(self, seed: int) -> None:
        """A scene that the task's regions give, the same for the same seed, after the objects have settled."""
        np.random.seed(seed)
        self._reset()
        self._settle()

    def benchmark(self, index: int) -> None:
        """The benchmark's scene `index`, the same each time, after the objects have settled."""
        np.random.seed(index)
        self._reset()
        self.env.set_init_state(self.initial_states()[index])
        self._settle()

    def _reset(self) -> None:
        """
        env.reset() without building the model anew. LIBERO's samplers add a fixture's new place to where its parts are in
        a new model, in which it stands at the origin: it is put there first, or what lies on it would land elsewhere.
        """
        for body in self._fixture_bodies():
            self.sim.model.body_pos[body], self.sim.model.body_quat[body] = 0, (1, 0, 0, 0)
        self.env.reset()
        # As in a new model: what the fingers were told last is not part of the state.
        gripper = self.inner.robots[0].gripper
        gripper.current_action = np.zeros(gripper.dof)
        self._watch()

    def _watch(self) -> None:
        """Of all that robosuite can observe in every physics step, what a policy is told; pictures are drawn when asked."""
        for name, observable in self.inner._observables.items():
            observable.set_enabled(name in OBSERVED)

    def _settle(self) -> None:
        for _ in range(SETTLING_STEPS):
            self.step(STAND_STILL)

    def step(self, action: np.ndarray) -> bool:
        """One control step of 50 ms; true when the task is done."""
        _, _, done, _ = self.env.step(list(action))
        return bool(done)

    def solved(self, bowl: str) -> bool:
        """LIBERO's own predicate of success, for either bowl."""
        return bool(self.inner._eval_predicate(["on", bowl, PLATE]))

    def position(self, name: str) -> np.ndarray:
        return np.array(self.sim.data.body_xpos[self.inner.obj_body_id[name]])

    def things(self) -> np.ndarray:
        """Where both bowls and the plate are, [3, 3]."""
        return np.stack([self.position(name) for name in (*BOWLS, PLATE)])

    def state(self) -> np.ndarray:
        """As openpi's client sends it: position, axis times angle, and the two fingers, [8]."""
        seen = self.inner._get_observations(force_update=True)
        rotation = axis_angle(seen["robot0_eef_quat"])
        return np.concatenate((seen["robot0_eef_pos"], rotation, seen["robot0_gripper_qpos"]))

    def drawn(self) -> np.ndarray:
        """Both cameras as a policy is sent them: turned by half a turn, u8 [2, 224, 224, 3]."""
        return np.stack([sent(self.sim.render(RENDERED, RENDERED, camera_name=name)) for name in CAMERAS])

    def seen(self, points: np.ndarray, radii: np.ndarray) -> np.ndarray:
        """
        Where the cameras see spheres at `points` [n, 3]: x, y and radius as shares of the turned picture's side,
        [cameras, n, 3]; radius 0 behind the camera.
        """
        model, data = self.sim.model, self.sim.data
        result = np.zeros((len(CAMERAS), len(points), 3))
        for row, name in zip(result, CAMERAS):
            camera = model.camera_name2id(name)
            local = (points - data.cam_xpos[camera]) @ data.cam_xmat[camera].reshape(3, 3)
            depth = -local[:, 2]
            ahead = depth > 0.02
            scale = 0.5 / np.tan(np.radians(model.cam_fovy[camera]) / 2) / np.where(ahead, depth, 1)
            # LIBERO's pictures, turned, are mirrored: x grows to the camera's left.
            row[:, 0], row[:, 1] = 0.5 - scale * local[:, 0], 0.5 - scale * local[:, 1]
            row[:, 2] = np.where(ahead, scale * radii, 0)
        return result

    def fixtures(self) -> np.ndarray:
        """Poses of cabinet and stove, which belong to the model rather than to the state, [n, 7]."""
        bodies = self._fixture_bodies()
        return np.concatenate((self.sim.model.body_pos[bodies], self.sim.model.body_quat[bodies]), 1)

    def place(self, qpos: np.ndarray, fixtures: np.ndarray) -> None:
        """Shows a recorded moment. It can be drawn, not stepped."""
        bodies = self._fixture_bodies()
        self.sim.model.body_pos[bodies], self.sim.model.body_quat[bodies] = fixtures[:, :3], fixtures[:, 3:]
        self.sim.data.qpos[:] = qpos
        self.sim.forward()

    def _fixture_bodies(self) -> list[int]:
        return [self.sim.model.body_name2id(fixture.root_body) for fixture in self.inner.fixtures_dict.values()]

    def save(self) -> Snapshot:
        gripper = np.array(self.inner.robots[0].gripper.current_action)
        return Snapshot(self.sim.get_state().flatten(), self.fixtures(), gripper)

    def load(self, snapshot: Snapshot) -> None:
        bodies = self._fixture_bodies()
        self.sim.model.body_pos[bodies] = snapshot.fixtures[:, :3]
        self.sim.model.body_quat[bodies] = snapshot.fixtures[:, 3:]
        self.sim.set_state_from_flattened(snapshot.physics)
        self.sim.forward()
        self.inner.robots[0].gripper.current_action = snapshot.gripper.copy()

    def close(self) -> None:
        self.env.close()


def sent(rendered: np.ndarray) -> np.ndarray:
    """A rendered picture, turned and resized as openpi's client does it."""
    turned = Image.fromarray(np.ascontiguousarray(rendered[::-1, ::-1]))
    return np.asarray(turned.resize((SENT, SENT), Image.BILINEAR))


def axis_angle(quaternion: np.ndarray) -> np.ndarray:
    """Of a unit quaternion (x, y, z, w): the axis times the angle in radians, with robosuite's choice of sign."""
    w = np.clip(quaternion[3], -1, 1)
    sine = np.sqrt(1 - w * w)
    return np.zeros(3) if sine < 1e-8 else quaternion[:3] * 2 * np.arccos(w) / sine


@functools.cache
def suite_named(name: str):
    from libero.libero import benchmark

    return benchmark.get_benchmark_dict()[name]()


def bddl_file(suite, task: int) -> pathlib.Path:
    from libero.libero import get_libero_path

    description = suite.get_task(task)
    return pathlib.Path(get_libero_path("bddl_files")) / description.problem_folder / description.bddl_file


def environment(file: str, cameras: bool, **options):
    """LIBERO's environment; without `cameras` one that draws nothing and needs no display."""
    from libero.libero.envs import OffScreenRenderEnv
    from libero.libero.envs.env_wrapper import ControlEnv

    # Steps that are tried and taken back count, too: an episode has no last one.
    options |= {"bddl_file_name": file, "hard_reset": False, "ignore_done": True}
    if cameras:
        return OffScreenRenderEnv(camera_heights=RENDERED, camera_widths=RENDERED, **options)
    return ControlEnv(has_renderer=False, has_offscreen_renderer=False, use_camera_obs=False, **options)


def prompts(suite: str = SUITE) -> list[str]:
    """What each task's prompt is."""
    tasks = suite_named(suite)
    return [tasks.get_task(task).language for task in range(tasks.n_tasks)]


def objects(task: int) -> list[str]:
    """Its movable things, in the order in which its joints have them."""
    kinds = _parsed(task)["objects"]
    return [name for names in kinds.values() for name in names]


def regions(task: int) -> dict[str, str]:
    """Where the task puts each thing: the region's name in its BDDL file, by the thing's."""
    return {thing: region for _, thing, region in (row for row in _parsed(task)["initial_state"] if len(row) == 3)}


@functools.cache
def _parsed(task: int) -> dict:
    from libero.libero.envs.bddl_utils import robosuite_parse_problem

    return robosuite_parse_problem(str(bddl_file(suite_named(SUITE), task)))

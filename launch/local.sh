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

options=()
if mpirun --version 2> /dev/null | grep -q "Open MPI\|OpenRTE"; then
  # Open MPI binds a rank to one core, which then is all that its threads get; and it refuses root
  # and more ranks than cores unless told otherwise (these names: version 4, then version 5).
  options+=(--bind-to none)
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  export OMPI_MCA_rmaps_base_oversubscribe=1
  export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
fi

# With -m mpirun is in a process group of its own and Ctrl-C does not reach it: some launchers give
# their ranks a fraction of a second after SIGINT or SIGTERM, but hand SIGUSR1 on and wait.
set -m
mpirun -np "$ranks" ${options[@]+"${options[@]}"} python -m ppo_mpi train "$@" < /dev/null &
job=$!
signals=0
# shellcheck disable=SC2317  # a trap calls it
stop() {
  signals=$((signals + 1))
  if [ "$signals" -eq 1 ]; then
    echo "saving; once more ends it at once" >&2
    kill -USR1 "$job" 2> /dev/null
  else
    kill -TERM "$job" 2> /dev/null
  fi
}
trap stop INT TERM HUP USR1

# wait returns early, with another status, when a trap runs meanwhile.
while true; do
  before=$signals
  wait "$job"
  status=$?
  [ "$signals" -eq "$before" ] && break
done
exit "$status"

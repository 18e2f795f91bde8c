#!/usr/bin/env bash
# Sourced by the Slurm scripts beside it. `run_training WORDS` runs `ppo_mpi train WORDS` on the
# job's ranks, and queues the job again until the run's folder says that it is done.

# How the ranks find each other must fit the MPI library that mpi4py finds: pmix for Open MPI, pmi2
# for MPICH and Intel MPI. SLURM_MPI_TYPE, if you set it, wins.
mpi_type() {
  local library
  # Asked for its name without being started: that would wait for ranks that are not there.
  library=$(python -c 'import mpi4py
mpi4py.rc.initialize = False
from mpi4py import MPI
print(MPI.Get_library_version().rstrip("\0"))') || return 1
  case $library in
    *"Open MPI"*) echo pmix ;;
    *) echo pmi2 ;;
  esac
}

# The folder of the run that the words of train are about.
folder_of() {
  python -c 'import sys
from ppo_mpi.cli import parse_command
from ppo_mpi.modes.opening import run_dir_of
print(run_dir_of(parse_command(["train", *sys.argv[1:]]).config))' "$@"
}

newest_checkpoint() {
  local name newest=none
  for name in "$1"/step-*; do
    [ -d "$name" ] && newest=${name##*/}
  done
  echo "$newest"
}

# Lives in a row that brought no further checkpoint; a file in the run's folder remembers them.
lives_without_progress() {
  local folder=$1 now=$2 before=none count=0
  [ -f "$folder/slurm_lives" ] && read -r before count < "$folder/slurm_lives"
  if [ "$now" = "$before" ]; then count=$((count + 1)); else count=0; fi
  mkdir -p "$folder" && echo "$now $count" > "$folder/slurm_lives"
  echo "$count"
}

# What starts the ranks. A signal that comes before Python has its handlers would end a rank; what
# the shell ignores stays ignored until they stand.
start_ranks() {
  local quiet='trap "" USR1 USR2 TERM INT; exec python -m ppo_mpi train "$@"'
  if [ "${LAUNCHER:-srun}" = mpirun ]; then
    # Open MPI would bind each rank to one core, which then is all that its threads get.
    local options=()
    [ "$1" = pmix ] && options+=(--bind-to none)
    shift
    mpirun -n "$SLURM_NTASKS" ${options[@]+"${options[@]}"} sh -c "$quiet" train "$@"
    return
  fi
  local type=$1
  shift
  # -K1: a rank that dies ends the others. Newer versions of srun do not inherit --cpus-per-task;
  # each rank gets that many cores to itself, where Slurm binds at all.
  srun -K1 --mpi="$type" --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
    --cpu-bind="${SLURM_CPU_BIND:-cores}" \
    sh -c "$quiet" train "$@"
}

# What tells one DONE from another; empty without one.
done_mark() {
  stat -c '%i %Z' "$1/DONE" 2> /dev/null
}

run_training() {
  local folder type job status lives limit before now id=$SLURM_JOB_ID
  local warned='' ended='' launchers="srun|mpirun|mpiexec|mpiexec.hydra|prterun"
  # The id of one task of an array may stand for all of them.
  [ -n "${SLURM_ARRAY_TASK_ID:-}" ] && id=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
  # What was begun is gone on with: only the first life may start over.
  [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] && set -- "$@" --clobber=false
  folder=$(folder_of "$@") || exit 2
  type=${SLURM_MPI_TYPE:-$(mpi_type)} || exit 2
  echo "life ${SLURM_RESTART_COUNT:-0} of job $SLURM_JOB_ID: $folder, MPI by $type," \
    "$SLURM_NTASKS ranks on $SLURM_JOB_NODELIST"

  before=$(done_mark "$folder")
  # In the background, since a shell that waits for a command in the foreground runs no trap. The
  # warning of --signal=B: comes to this shell, and launchers hand SIGUSR1 on to the ranks.
  start_ranks "$type" "$@" &
  job=$!
  trap 'warned=1; kill -USR1 $(pgrep -P "$job" -x "$launchers") 2> /dev/null' USR1
  # Of scancel and at the time limit; the ranks get a SIGTERM of their own.
  trap 'ended=1' TERM
  while true; do
    wait "$job"
    status=$?
    kill -0 "$job" 2> /dev/null || break # wait returns early when a trap runs
  done

  if [ "$status" -eq 2 ]; then
    echo "the words of train cannot be: not queued again"
    exit 2
  fi
  # An exit status does not say that a run is done: a lost node can end a job with 0. Nor does a
  # DONE that was there before, of a run that was to go on or to start over.
  now=$(done_mark "$folder")
  if [ -n "$now" ] && { [ "$status" -eq 0 ] || [ "$now" != "$before" ]; }; then
    rm -f "$folder/slurm_lives"
    echo "done: $folder"
    exit 0
  fi
  # Of preemption Slurm tells the ranks only, before the time limit this shell is warned.
  if [ -n "$ended" ] && [ -z "$warned" ]; then
    echo "cancelled: not queued again; the same line goes on from $(newest_checkpoint "$folder")"
    exit "$status"
  fi
  lives=$(lives_without_progress "$folder" "$(newest_checkpoint "$folder")")
  # Being preempted early is bad luck; more often than that it is a --time that is too short.
  limit=${MAX_LIVES_WITHOUT_PROGRESS:-3}
  [ "$status" -eq 75 ] && limit=$((4 * limit))
  if [ "$lives" -ge "$limit" ]; then
    echo "giving up: $lives lives brought no further checkpoint; the last left with $status." \
      "See the output above; a longer --time or a smaller --checkpoint-every may help"
    exit 1
  fi
  if ! scontrol requeue "$id"; then
    echo "life ${SLURM_RESTART_COUNT:-0} left with $status, and Slurm does not queue it again:" \
      "submit the same line, it goes on"
    exit 1
  fi
  echo "life ${SLURM_RESTART_COUNT:-0} left with $status: queued again"
  exit "$status"
}

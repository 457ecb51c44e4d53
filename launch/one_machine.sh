#!/usr/bin/env bash
# One machine and all its GPUs, in one process:
#   launch/one_machine.sh msn_vits16 WORKDIR [--config.FIELD=VALUE ...]
# After a preemption (exit code 75) or a step that hung (6) the run is restarted and resumes; after any other exit code
# the script ends. A signal to this script (Ctrl-C too) is passed on: the run saves, and is not restarted.
set -uo pipefail
config=$1 workdir=$2
shift 2
stopped=''
trap 'stopped=yes; kill -TERM "$run" 2>/dev/null' INT TERM HUP
while true; do
  python -m maskrep train --config="$config" --workdir="$workdir" "$@" &
  run=$!
  wait "$run"
  code=$?
  while kill -0 "$run" 2>/dev/null; do # the wait was interrupted by a signal
    wait "$run"
    code=$?
  done
  case $code$stopped in 6 | 75) ;; *) exit "$code" ;; esac
done

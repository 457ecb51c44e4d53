#!/usr/bin/env bash
# One machine and all its GPUs, in one process:
#   launch/one_machine.sh configs/msn_vits16.py WORKDIR [--config.FIELD=VALUE ...]
# After a preemption (exit code 75) the run is started again and goes on; any other end is the end.
set -uo pipefail
config=$1 workdir=$2
shift 2
while true; do
  python main.py --config="$config" --workdir="$workdir" "$@"
  code=$?
  [ "$code" -eq 75 ] || exit "$code"
done

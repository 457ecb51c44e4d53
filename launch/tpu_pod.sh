#!/usr/bin/env bash
# A TPU pod slice whose workers all have maskrep installed, with the extra [tpu]:
#   launch/tpu_pod.sh TPU_NAME ZONE msn_vitb16 WORKDIR [--config.FIELD=VALUE ...]
# WORKDIR is on a file system that every worker mounts (Filestore, or a bucket through Cloud Storage FUSE). The workers
# find each other through the pod's metadata. After a preemption (exit code 75), a lost process or a step that hung (6),
# the run is started again on all workers; after any other exit code the script ends.
set -uo pipefail
name=$1 zone=$2 config=$3 workdir=$4
shift 4
run=$(printf ' %q' python3 -m maskrep train --config="$config" --workdir="$workdir" "$@")
while true; do
  gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$run"
  code=$?
  case $code in 6 | 75) ;; *) exit "$code" ;; esac
done

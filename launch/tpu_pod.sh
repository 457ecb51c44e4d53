#!/usr/bin/env bash
# A TPU pod slice whose workers all have maskrep installed, with the extra [tpu]:
#   launch/tpu_pod.sh TPU_NAME ZONE msn_vitb16 WORKDIR [--config.FIELD=VALUE ...]
# WORKDIR is on a file system that every worker mounts (Filestore, or a bucket through Cloud Storage FUSE). The workers
# find each other through the pod's metadata.
set -euo pipefail
name=$1 zone=$2 config=$3 workdir=$4
shift 4
run=$(printf ' %q' python3 -m maskrep train --config="$config" --workdir="$workdir" "$@")
gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$run"

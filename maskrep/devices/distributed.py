"""Joins the processes of one run, by the flags of the command line or the cluster's environment."""

import os
import socket
import time

import jax

from maskrep.errors import ConfigError

HEARTBEAT_S = 60  # after which a lost process ends the others; also the longest wait at shutdown

# Whether a cluster's environment has several processes; jax.distributed finds out the rest.
CLUSTERS = {
  'SLURM': lambda env: int(env.get('SLURM_STEP_NUM_TASKS', 1)) > 1,
  'Open MPI': lambda env: int(env.get('OMPI_COMM_WORLD_SIZE', 1)) > 1,
  'TPU pod': lambda env: ',' in env.get('TPU_WORKER_HOSTNAMES', '') or int(env.get('MEGASCALE_NUM_SLICES', 1)) > 1,
  'Kubernetes': lambda env: 'KUBERNETES_SERVICE_HOST' in env and 'JOB_COMPLETION_INDEX' in env,
}


def initialize(coordinator: str | None, num_processes: int | None, process_id: int | None, timeout_s: int) -> None:
  """Joins the other processes; does nothing for a single process. To be called before anything else of jax.

  Raises:
    ConfigError: only some of the three are given, or the other processes were not reached within `timeout_s`.
  """
  given = {'--coordinator': coordinator, '--num_processes': num_processes, '--process_id': process_id}
  missing = [flag for flag, value in given.items() if value is None]
  if missing and len(missing) < len(given):
    raise ConfigError(f'{missing[0]}: is missing; give all or none of {", ".join(given)}')
  if missing and not cluster():
    return
  if not missing and not 0 <= process_id < num_processes:
    raise ConfigError(f'--process_id={process_id}: must be in 0..{num_processes - 1}, below --num_processes')
  if coordinator and process_id:
    _wait_for(coordinator, timeout_s)
  try:
    jax.distributed.initialize(
      coordinator, num_processes, process_id, initialization_timeout=timeout_s,
      heartbeat_timeout_seconds=HEARTBEAT_S, shutdown_timeout_seconds=HEARTBEAT_S)
  except (RuntimeError, ValueError) as error:
    where = f'--coordinator={coordinator}' if coordinator else f'{cluster()} environment'
    raise ConfigError(f'{where}: the {num_processes or ""} processes did not find each other within {timeout_s} s '
                      f'({" ".join(str(error).split())[:200]}); start them all, and check that the address can be '
                      'reached from every machine') from error


def _wait_for(coordinator: str, timeout_s: int) -> None:
  """Waits for the address to answer; jax.distributed would abort the process at its timeout."""
  host, _, port = coordinator.rpartition(':')
  if not host or not port.isdigit():
    raise ConfigError(f'--coordinator={coordinator}: must be HOST:PORT of process 0')
  end = time.monotonic() + timeout_s
  while True:
    try:
      socket.create_connection((host, int(port)), timeout=5).close()
      return
    except OSError as error:
      if time.monotonic() > end:
        raise ConfigError(f'--coordinator={coordinator}: did not answer within {timeout_s} s ({error}); start process '
                          '0, and check that this machine can reach it') from error
      time.sleep(0.5)


def cluster() -> str:
  """The name of the cluster whose environment has several processes; '' if there is none."""
  return next((name for name, matches in CLUSTERS.items() if matches(os.environ)), '')


def device_table() -> str:
  """One line per process: the number of its devices and their kind."""
  lines = [f'{jax.process_count()} process(es), {jax.device_count()} device(s)']
  for process in range(jax.process_count()):
    kinds = [device.device_kind for device in jax.devices() if device.process_index == process]
    lines.append(f'  process {process}: {len(kinds)} x {kinds[0]}')
  return '\n'.join(lines)

"""Joins the processes of one run, using command-line flags or the cluster's environment."""

import dataclasses
import logging
import os
import secrets
import socket

import jax

from maskrep.devices import agreement, meeting, watch
from maskrep.errors import ConfigError

HEARTBEAT_S = 60  # after which jax.distributed aborts where a process is silent; also its longest wait at shutdown
SILENCE = 0.75  # of it, after which the watch ends the others with a line
CLUSTER_MEETING_S = 10  # for connections of the watch in a cluster

log = logging.getLogger(__name__)

# Whether a cluster's environment has several processes; jax.distributed determines the rest.
CLUSTERS = {
  'SLURM': lambda env: int(env.get('SLURM_STEP_NUM_TASKS', 1)) > 1,
  'Open MPI': lambda env: int(env.get('OMPI_COMM_WORLD_SIZE', 1)) > 1,
  'TPU pod': lambda env: ',' in env.get('TPU_WORKER_HOSTNAMES', '') or int(env.get('MEGASCALE_NUM_SLICES', 1)) > 1,
  'Kubernetes': lambda env: 'KUBERNETES_SERVICE_HOST' in env and 'JOB_COMPLETION_INDEX' in env,
}


def initialize(coordinator: str | None, num_processes: int | None, process_id: int | None, timeout_s: int) -> None:
  """Joins the other processes; does nothing for a single process. Call it before any other use of jax.

  Raises:
    ConfigError: only some of the three are given, or the other processes were not reached within `timeout_s`.
  """
  given = {'--coordinator': coordinator, '--num_processes': num_processes, '--process_id': process_id}
  missing = [flag for flag, value in given.items() if value is None]
  if missing and len(missing) < len(given):
    raise ConfigError(f'{missing[0]}: is missing; give all or none of {", ".join(given)}')
  if missing and not cluster():
    return
  if num_processes is not None and process_id is not None and not 0 <= process_id < num_processes:
    raise ConfigError(f'--process_id={process_id}: must be in 0..{num_processes - 1}, below --num_processes')
  if num_processes == 1:
    return
  if coordinator and num_processes is not None and process_id is not None:
    me = meeting.Hello(process=process_id, processes=num_processes)
    watch.start(_meet(coordinator, me, timeout_s), first=process_id == 0, silence_s=SILENCE * HEARTBEAT_S)
  where = f'--coordinator={coordinator}' if coordinator else f'{cluster()} environment'
  late = (f'{where}: the processes did not find each other within {timeout_s} s; start them all, and check that the '
          'address can be reached from every machine')
  try:
    with watch.deadline(timeout_s, late):  # at its own, jax.distributed aborts
      jax.distributed.initialize(
        coordinator, num_processes, process_id, initialization_timeout=2 * timeout_s,
        heartbeat_timeout_seconds=HEARTBEAT_S, shutdown_timeout_seconds=HEARTBEAT_S)
  except (RuntimeError, ValueError) as error:
    raise ConfigError(f'{where}: jax.distributed failed: {" ".join(str(error).split())[:200]}') from error
  if not coordinator and jax.process_count() > 1 and (peers := _meet_in_cluster()):
    watch.start(peers, first=jax.process_index() == 0, silence_s=SILENCE * HEARTBEAT_S)
  # The first collective: gloo connects all processes, and would wait no longer than 30 s for a late one.
  agreement.gather({})


def _meet(coordinator: str, me: meeting.Hello, timeout_s: int) -> list[meeting.Peer]:
  """Connections between process 0 and the others, through the port that jax.distributed uses afterwards."""
  host, _, port = coordinator.rpartition(':')
  if not host or not port.isdigit():
    raise ConfigError(f'--coordinator={coordinator}: must be HOST:PORT of process 0')
  try:
    if me.process:
      return [meeting.join([host.strip('[]')], int(port), me, timeout_s)]
    with meeting.listen(int(port)) as listener:
      return meeting.receive(listener, me, timeout_s)
  except TimeoutError as error:
    raise ConfigError(f'--coordinator={coordinator}: no answer from process 0 within {timeout_s} s ({error}); start '
                      'it, and check that this machine can reach it') from error
  except (OSError, OverflowError) as error:
    raise ConfigError(f'--coordinator={coordinator}: process 0 cannot use this port on {me.host} ({error}); another '
                      'process has --process_id=0, or another program uses it') from error


def _meet_in_cluster() -> list[meeting.Peer]:
  """As `_meet`, for processes found by jax.distributed, through any free port; [] if one cannot be reached."""
  me = meeting.Hello(process=jax.process_index(), processes=jax.process_count())
  peers, wrong = [], ''
  with meeting.listen(0) as listener:
    offer = agreement.gather({'addresses': [_address(), me.host], 'port': listener.getsockname()[1],
                              'token': secrets.token_hex(8)})[0]
    me = dataclasses.replace(me, token=offer['token'])
    try:
      peers = (meeting.receive(listener, me, CLUSTER_MEETING_S) if not me.process else
               [meeting.join(offer['addresses'], offer['port'], me, CLUSTER_MEETING_S)])
    except (ConfigError, OSError) as error:
      wrong = f'process {me.process} on {me.host}: {error}'
  # All watch, or none: a process that does not would be considered lost.
  if found := [each['wrong'] for each in agreement.gather({'wrong': wrong}) if each['wrong']]:
    for peer in peers:
      peer.connection.close()
    if not me.process:
      log.warning('the processes cannot watch each other, so a lost one ends the others only after %d s, by an abort '
                  '(%s)', HEARTBEAT_S, found[-1])
    return []
  return peers


def _address() -> str:
  """The address from which this machine reaches others. Nothing is sent."""
  with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    try:
      probe.connect(('192.0.2.1', 9))  # reserved for documentation
    except OSError:
      return 'localhost'
    return probe.getsockname()[0]


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

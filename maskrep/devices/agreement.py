"""Comparisons between the processes of a run, and errors raised in all of them. Every process must make each call."""

from collections import Counter
from collections.abc import Callable
import json
import socket
from typing import Any, TypeVar

import jax
from jax.experimental import multihost_utils
import numpy as np

from maskrep.errors import ConfigError, RunError

ABSENT = '(none)'  # as in a diff of configs

Result = TypeVar('Result')


def gather(record: dict[str, Any]) -> list[dict[str, Any]]:
  """The records of all processes, by process index. A record is plain data, for JSON.

  Raises:
    ConfigError: the processes have different numbers of devices, so that no collective is possible.
  """
  if jax.process_count() == 1:
    return [json.loads(json.dumps(record))]
  counts = Counter(device.process_index for device in jax.devices())
  if other := [process for process, count in counts.items() if count != counts[0]]:
    raise ConfigError(f'process {other[0]} has {counts[other[0]]} device(s), and process 0 has {counts[0]}; give all '
                      'processes of a run the same number')
  content = np.frombuffer(json.dumps(record).encode(), np.uint8)
  sizes = multihost_utils.process_allgather(np.array(content.size))
  padded = np.zeros(1 << int(sizes.max()).bit_length(), np.uint8)  # few sizes: each is compiled
  padded[:content.size] = content
  rows = multihost_utils.process_allgather(padded)
  return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def difference(records: list[dict[str, Any]], hosts: list[str]) -> str:
  """The first field, by name, that is not equal in the records of all processes; '' if there is none.

  None, for a fact that a process does not know, agrees with everything.
  """
  for field in sorted(set().union(*records)):
    shown = [json.dumps(record.get(field, ABSENT), sort_keys=True) for record in records]
    known = [process for process, value in enumerate(shown) if value != 'null']
    for process in known[1:]:
      if shown[process] != shown[known[0]]:
        return (f'{field}={shown[process]}: in {_name(process, hosts)}, and {shown[known[0]]} in '
                f'{_name(known[0], hosts)}; start all processes of a run with the same')
  return ''


def check_same(facts: dict[str, Any]) -> None:
  """Compares flat `facts` of all processes.

  Raises:
    ConfigError: they differ; in every process, with the same line.
  """
  found = gather({'host': socket.gethostname(), 'facts': facts})
  if line := difference([each['facts'] for each in found], [each['host'] for each in found]):
    raise ConfigError(line)


def together(action: Callable[[], Result]) -> Result:
  """Calls `action`, which must contain no collective, in every process, and returns its result.

  Raises:
    RunError: this process's error, or that of the first process with one, so that no process waits for another in vain.
  """
  host = socket.gethostname()
  try:
    result = action()
  except RunError as error:
    gather({'host': host, 'error': str(error), 'exit_code': error.exit_code})
    raise
  found = gather({'host': host, 'error': '', 'exit_code': 0})
  hosts = [each['host'] for each in found]
  for process, each in enumerate(found):
    if each['exit_code']:
      kind = next(kind for kind in (*RunError.__subclasses__(), RunError) if kind.exit_code == each['exit_code'])
      raise kind(f'{_name(process, hosts)}: {each["error"]}')
  return result


def _name(process: int, hosts: list[str]) -> str:
  return f'process {process} on {hosts[process]}'

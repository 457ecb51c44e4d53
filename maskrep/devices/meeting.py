"""The processes of a run meet on a TCP port of process 0. The connections stay open, for `watch`. Does not import jax.

Every other process sends one line of JSON, its `Hello`; process 0 answers all at once, with 'go' or with the error.
"""

import contextlib
import dataclasses
import itertools
import json
import socket
import time

from maskrep.errors import ConfigError

PROTOCOL = 1
HELLO_S = 5  # within which a connection says who it is
LINGER_S = 3  # for which process 0 tells what is wrong to those who come later
STRANGER_S = 10  # after which another answer than of a process 0 that waits is taken for final


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hello:
  """A process, and the run for which it was started; `token` distinguishes runs."""

  process: int
  processes: int
  host: str = dataclasses.field(default_factory=socket.gethostname)
  token: str = ''
  protocol: int = PROTOCOL


@dataclasses.dataclass(frozen=True)
class Peer:
  """Another process, and the connection to it."""

  hello: Hello
  connection: socket.socket

  def __str__(self):
    return f'process {self.hello.process} on {self.hello.host}'

  def send(self, message: dict) -> None:
    """Sends one line; does nothing if the peer is gone."""
    with contextlib.suppress(OSError):
      self.connection.sendall(json.dumps(message).encode() + b'\n')


def listen(port: int) -> socket.socket:
  """Listens on all addresses of this machine, as jax.distributed will.

  Raises:
    OSError: the port is taken.
  """
  if socket.has_dualstack_ipv6():
    return socket.create_server(('', port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
  return socket.create_server(('', port), backlog=1024)


def receive(listener: socket.socket, me: Hello, timeout_s: float) -> list[Peer]:
  """Process 0: waits until all others have connected, then lets all continue.

  Raises:
    ConfigError: some did not connect, two have the same index, or one belongs to a run of another kind. The connected
      processes raise the same error.
  """
  came, wrong, end = [], '', time.monotonic() + timeout_s
  while (left := end - time.monotonic()) > 0 and (wrong or len(came) < me.processes - 1):
    peer = _accept(listener, left, me.token)
    if peer is None:
      continue
    # A process that was started again takes its own place.
    came = [each for each in came if each.hello.process != peer.hello.process or not _closed(each)] + [peer]
    if not wrong and (wrong := _wrong(came, me)):
      end = time.monotonic() + LINGER_S
  if not wrong and (missing := set(range(1, me.processes)) - {peer.hello.process for peer in came}):
    shown = ', '.join(map(str, sorted(missing)[:10])) + (', ...' if len(missing) > 10 else '')
    wrong = (f'--process_id={shown}: did not connect to process 0 on {me.host} within {timeout_s:g} s; start all '
             f'{me.processes} processes, and check that they can reach its --coordinator address')
  for peer in came:
    peer.send({'wrong': wrong} if wrong else {'go': me.host})
    if wrong:
      peer.connection.close()
  if wrong:
    raise ConfigError(wrong)
  return came


def join(hosts: list[str], port: int, me: Hello, timeout_s: float) -> Peer:
  """A process other than 0: connects to one of process 0's names or addresses, and waits for permission to continue.

  Raises:
    ConfigError: the error reported by process 0.
    TimeoutError: process 0 did not answer within `timeout_s`, or something else answers there.
  """
  end = time.monotonic() + timeout_s
  turns = itertools.cycle(hosts)
  while True:
    try:
      connection = socket.create_connection((next(turns), port), timeout=HELLO_S)
      Peer(me, connection).send(dataclasses.asdict(me))
      connection.settimeout(max(end - time.monotonic(), 0) + HELLO_S)  # longer: at its timeout, process 0 says why
      answer = _read_line(connection)
    except OSError as error:
      why = str(error)
    else:
      if 'go' in answer:
        return Peer(Hello(process=0, processes=me.processes, host=answer['go']), connection)
      connection.close()
      if 'wrong' in answer:
        raise ConfigError(answer['wrong'])
      why = 'something else answers there: a run that has all its processes, or another program'
      end = min(end, time.monotonic() + STRANGER_S)
    if time.monotonic() > end:
      raise TimeoutError(why)
    time.sleep(0.5)


def _accept(listener: socket.socket, left: float, token: str) -> Peer | None:
  """The next process to connect within `left` seconds; None for anything else that connects."""
  listener.settimeout(left)
  try:
    connection, _ = listener.accept()
    connection.settimeout(HELLO_S)
    hello = _read_line(connection)
  except OSError:
    return None
  fields = {field.name for field in dataclasses.fields(Hello)}
  if not fields <= hello.keys() or hello['token'] != token:
    connection.close()
    return None
  return Peer(Hello(**{name: hello[name] for name in fields}), connection)


def _read_line(connection: socket.socket) -> dict:
  """The object in one line of JSON; {} for anything else."""
  received = b''
  while received[:1] in (b'', b'{') and not received.endswith(b'\n') and len(received) < 4096:
    byte = connection.recv(1)  # what follows the line is for the watch
    if not byte:
      raise ConnectionError('the connection was closed')
    received += byte
  try:
    found = json.loads(received)
  except ValueError:
    return {}
  return found if isinstance(found, dict) else {}


def _closed(peer: Peer) -> bool:
  """Whether a waiting process has ended, so that its place is free."""
  peer.connection.setblocking(False)
  try:
    return peer.connection.recv(1, socket.MSG_PEEK) == b''
  except BlockingIOError:
    return False
  except OSError:
    return True
  finally:
    peer.connection.settimeout(HELLO_S)


def _wrong(came: list[Peer], me: Hello) -> str:
  """Returns the line that refuses the process that connected last; '' if there is no reason to."""
  last, first = came[-1], f'process 0 on {me.host}'
  hello = last.hello
  if hello.protocol != me.protocol:
    return f'{last}: is of another version of maskrep than {first}; start all with the same'
  if hello.processes != me.processes:
    return (f'--num_processes={hello.processes}: was given to {last}, and {me.processes} to {first}; give all '
            'processes the same')
  if not 0 < hello.process < me.processes:
    return f'--process_id={hello.process}: was given to {last}, and must be in 0..{me.processes - 1}'
  for earlier in came[:-1]:
    if earlier.hello.process == hello.process:
      return (f'--process_id={hello.process}: was given to two processes, on {earlier.hello.host} and on {hello.host}; '
              f'give each of the {me.processes} its own, from 0')
  return ''

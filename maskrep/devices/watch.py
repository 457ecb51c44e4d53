"""Ends all processes of a run together: one that is lost, or ends with an error, ends the others within seconds.

Process 0 has a connection to every other process (`meeting`), on which both send a line every `TICK_S`. A process that
ends first sends its exit code, so if a connection closes without one, or is silent, the process is lost. Process 0
passes on how the run ends. The watch is a thread: the main thread may be in a collective that never returns.

Messages: {} is a sign of life; {'end': CODE} from other processes, their exit code; from process 0, {'end': CODE,
'line': LINE}, how the run ends, and {'exit': CODE}, that it is about to exit. Does not import jax.
"""

from collections.abc import Callable, Iterator
import contextlib
import ctypes
import json
import os
import selectors
import signal
import socket
import sys
import threading
import time
from typing import NoReturn

from maskrep.devices.meeting import Peer
from maskrep.errors import ConfigError, PeerLost

TICK_S = 2
GRACE_S = 5  # for a process to end by itself, once it has heard that another did: mostly for the same reason
FINISH_S = 3  # for the last words of a process
SETTLE_S = 1  # after an error, until it is clear whether a lost process is its cause


class Watch:
  """The watch's thread, with a connection to process 0 or, in process 0, to each of the others."""

  def __init__(self, peers: list[Peer], *, first: bool, silence_s: float):
    self._peers, self._first, self._silence_s = list(peers), first, silence_s
    self._received = dict.fromkeys(peers, b'')
    self._heard = dict.fromkeys(peers, time.monotonic())
    self._codes = {}  # how peers ended
    self._own = None  # how this process ends
    self._leaving, self._ending, self._over = threading.Event(), threading.Event(), threading.Event()
    self._wake, self._woken = socket.socketpair()
    self._selector = selectors.DefaultSelector()
    self._selector.register(self._woken, selectors.EVENT_READ)
    for peer in peers:
      peer.connection.settimeout(GRACE_S)
      self._selector.register(peer.connection, selectors.EVENT_READ, peer)
    threading.Thread(target=self._watch, name='watch', daemon=True).start()

  def leave(self, code: int) -> None:
    """Announces that this process ends. Returns when all have finished; does not return if any failed."""
    self._own = code
    self._leaving.set()
    self._wake.send(bytes([code]))
    self._over.wait()

  def settle(self) -> None:
    if self._ending.wait(SETTLE_S):
      self._over.wait()  # in vain: the process is ending

  def _watch(self) -> None:
    try:
      tick = time.monotonic()  # the next
      while not self._over.is_set():
        for key, _ in self._selector.select(max(0, tick - time.monotonic())):
          self._own_end() if key.data is None else self._read(key.data)
        if (late := time.monotonic() - tick) >= 0:
          self._tick(stood_still=late > TICK_S)
          tick = time.monotonic() + TICK_S
    finally:
      self._over.set()

  def _tick(self, stood_still: bool) -> None:
    """Sends a sign of life, and looks for peers that sent none. If this process stood still, it has not read theirs."""
    now = time.monotonic()
    for peer in self._peers:
      if stood_still:
        self._heard[peer] = now
      if self._codes.get(peer) != 0 and now - self._heard[peer] > self._silence_s:
        self._lost(peer, f'it was silent for {self._silence_s:g} s')
      peer.send({})

  def _own_end(self) -> None:
    code, = self._woken.recv(1)
    if self._first:
      self._ended(f'process 0 on {socket.gethostname()}', code)
    else:
      self._peers[0].send({'end': code})

  def _read(self, peer: Peer) -> None:
    try:
      received = peer.connection.recv(65536)
    except OSError:
      received = b''
    if not received:
      self._selector.unregister(peer.connection)
      if peer not in self._codes:
        self._lost(peer, 'its connection was closed')
      elif self._codes[peer]:
        _exit(self._own or self._codes[peer])
      return
    self._heard[peer] = time.monotonic()
    *lines, self._received[peer] = (self._received[peer] + received).split(b'\n')
    for message in map(json.loads, lines):
      if 'exit' in message:
        _exit(self._own or message['exit'])
      if 'end' in message:
        self._codes[peer] = message['end']
        self._ended(message.get('line', str(peer)), message['end'])

  def _ended(self, who: str, code: int) -> None:
    """In process 0: a process has ended. In the others: the run has ended."""
    if code:
      self._end_run(code, who if not self._first else f'{who} ended with exit code {code}, and the run with it')
    elif not self._first or (self._own == 0 and len(self._codes) == len(self._peers)):
      self._tell({'end': 0})
      self._over.set()

  def _lost(self, peer: Peer, how: str) -> None:
    self._peers.remove(peer)
    self._end_run(PeerLost.exit_code, f'{peer} is lost: {how}; run the same command in all processes to go on from '
                                      'the newest checkpoint')

  def _end_run(self, code: int, line: str) -> None:
    """Ends this process; process 0 ends last, because without it jax.distributed aborts the others.

    A process with an error of its own keeps its connections until process 0 has reached its own end or is gone:
    otherwise the others' collectives would fail, as if that were their error.
    """
    self._tell({'end': code, 'line': line})
    if code != PeerLost.exit_code:
      self._leaving.wait(GRACE_S)
      if self._own and not self._first:
        return
    self._ending.set()
    if not self._own:
      _explain(code, line)
    self._tell({'exit': self._own or code})
    if self._first:
      end = time.monotonic() + GRACE_S + 1
      for peer in self._peers:
        _wait_until_closed(peer.connection, end)
    _exit(self._own or code)

  def _tell(self, message: dict) -> None:
    if self._first:
      for peer in self._peers:
        peer.send(message)


_current: Watch | None = None
_records: list[Callable[[str, int], None]] = []


def start(peers: list[Peer], *, first: bool, silence_s: float) -> None:
  """Starts the watch of this process. A peer that is silent for `silence_s` is considered lost."""
  global _current
  # If process 0 is lost, threads of jax.distributed abort at once. As a handler of SIGABRT (= 6), `sleep` makes them
  # sleep for 6 seconds first, in which the watch ends the process with a line and its exit code.
  libc = ctypes.CDLL(None)
  libc.signal(signal.SIGABRT, ctypes.cast(libc.sleep, ctypes.c_void_p))
  _current = Watch(peers, first=first, silence_s=silence_s)


@contextlib.contextmanager
def at_end(record: Callable[[str, int], None]) -> Iterator[None]:
  """Calls `record`, with the reason and the exit code, if this module ends the process."""
  _records.append(record)
  try:
    yield
  except Exception:
    settle()
    raise
  finally:
    _records.remove(record)


@contextlib.contextmanager
def deadline(seconds: float, line: str) -> Iterator[None]:
  """Ends the process with a line, as a ConfigError does, if the block does not return in time."""
  timer = threading.Timer(seconds, end, (ConfigError.exit_code, line))
  timer.daemon = True
  timer.start()
  try:
    yield
  finally:
    timer.cancel()


def end(code: int, line: str, before: Callable[[], object] = lambda: None) -> NoReturn:
  """Ends the process with a line and an exit code, whatever its threads are doing.

  `before` is called first, and like all that is written at the end it may not take long.
  """
  _in_time(before)
  _explain(code, line)
  _exit(code)


def settle() -> bool:
  """After an error: waits until it is clear whether its cause is a lost process, which then ends this one.

  Returns whether there is a watch.
  """
  if _current:
    _current.settle()
  return _current is not None


def leave(code: int) -> int:
  """Ends this process's part in the run: returns 0 when all have finished. Does not return if one has failed.

  Without a watch, returns `code`.
  """
  if _current:
    _current.leave(code)
  return code


def _wait_until_closed(connection: socket.socket, end: float) -> None:
  try:
    while (left := end - time.monotonic()) > 0:
      connection.settimeout(left)
      if not connection.recv(65536):
        return
  except OSError:
    return


def _explain(code: int, line: str) -> None:
  _in_time(lambda: os.write(2, f'\nmaskrep: {line}\n'.encode()))  # on a line of its own, after a progress bar
  _in_time(lambda: [record(line, code) for record in _records])


def _exit(code: int) -> NoReturn:
  _in_time(lambda: (sys.stdout.flush(), sys.stderr.flush()))
  os._exit(code)


def _in_time(action: Callable[[], object]) -> None:
  """Runs `action`, but not for long: a folder that is gone, or a pipe without a reader, must not delay the end."""
  thread = threading.Thread(target=action, daemon=True)
  thread.start()
  thread.join(FINISH_S)

"""Processes that meet on a port: all go on, or all hear in one line why not. Threads stand for processes."""

from concurrent.futures import ThreadPoolExecutor
import contextlib
import dataclasses
import socket
import time

import pytest

from maskrep.devices import distributed, meeting
from maskrep.devices.meeting import Hello
from maskrep.errors import ConfigError

pytestmark = pytest.mark.quick


@pytest.fixture(autouse=True)
def patience(monkeypatch):
  monkeypatch.setattr(meeting, 'LINGER_S', 1)
  monkeypatch.setattr(meeting, 'STRANGER_S', 1)


@pytest.fixture
def listener():
  with meeting.listen(0) as listener:
    yield listener


def port(listener: socket.socket) -> int:
  return listener.getsockname()[1]


def outcomes(listener: socket.socket, processes: int, *others: Hello, timeout_s: float = 10) -> list[str]:
  """How the meeting ends for process 0 and for each of the others: with whom it met, or the error."""
  def outcome(function, *arguments):
    try:
      found = function(*arguments, timeout_s)
    except (ConfigError, OSError) as error:
      return f'{type(error).__name__}: {error}'
    return sorted(peer.hello.process for peer in (found if isinstance(found, list) else [found]))

  first = Hello(process=0, processes=processes, host='a')
  with ThreadPoolExecutor(len(others) + 1) as pool:
    results = [pool.submit(outcome, meeting.receive, listener, first)]
    results += [pool.submit(outcome, meeting.join, ['localhost'], port(listener), other) for other in others]
    return [result.result() for result in results]


def hello(process: int, processes: int, **fields) -> Hello:
  return Hello(process=process, processes=processes, **{'host': 'b', **fields})


def test_all_meet(listener):
  assert outcomes(listener, 4, *(hello(index, 4) for index in (3, 1, 2))) == [[1, 2, 3], [0], [0], [0]]


@pytest.mark.parametrize(('processes', 'others', 'line'), [
  (3, [hello(1, 3), hello(1, 3, host='c')], '--process_id=1: was given to two processes, on '),
  (3, [hello(1, 3), hello(2, 4)], '--num_processes=4: was given to process 2 on b, and 3 to process 0 on a'),
  (2, [hello(0, 2)], '--process_id=0: was given to process 0 on b, and must be in 0..1'),
  (2, [hello(1, 2, protocol=0)], 'process 1 on b: is of another version of maskrep than process 0 on a'),
  (4, [hello(2, 4)], '--process_id=1, 3: did not connect to process 0 on a within 2 s'),
], ids=['an index twice', 'other counts', 'index 0 twice', 'other versions', 'missing'])
def test_what_is_wrong_is_one_line_everywhere(listener, processes, others, line):
  first, *rest = outcomes(listener, processes, *others, timeout_s=2)
  assert first.startswith(f'ConfigError: {line}') and rest == [first] * len(others)


def test_what_is_no_process_is_ignored(listener):
  with socket.create_connection(('localhost', port(listener))) as stranger, contextlib.closing(
      socket.create_connection(('localhost', port(listener)))) as gone:
    stranger.sendall(b'GET / HTTP/1.1\r\n\r\n')
    gone.close()
    other_run = hello(1, 2, token='another run')
    assert outcomes(listener, 2, hello(1, 2)) == [[1], [0]]
    first, other = outcomes(listener, 2, other_run, timeout_s=1)
    assert '--process_id=1: did not connect' in first and 'TimeoutError' in other


def test_a_process_that_was_started_again_takes_its_place(listener):
  with ThreadPoolExecutor(1) as pool:
    first = pool.submit(meeting.receive, listener, hello(0, 3), 10)
    with socket.create_connection(('localhost', port(listener))) as killed:
      meeting.Peer(hello(1, 3), killed).send(dataclasses.asdict(hello(1, 3)))
      time.sleep(0.5)
    time.sleep(0.1)
    with ThreadPoolExecutor(2) as others:
      for index in (1, 2):
        others.submit(meeting.join, ['localhost'], port(listener), hello(index, 3), 10)
    assert sorted(peer.hello.process for peer in first.result()) == [1, 2]


def test_what_follows_the_answer_is_left_for_the_watch(listener):
  with ThreadPoolExecutor(1) as pool:
    other = pool.submit(meeting.join, ['localhost'], port(listener), hello(1, 2), 5)
    connection, _ = listener.accept()
    connection.sendall(b'{"go": "a"}\n{}\n')
    assert other.result().connection.recv(10) == b'{}\n'


def test_another_name_of_process_0_is_tried(listener):
  with ThreadPoolExecutor(1) as pool:
    first = pool.submit(meeting.receive, listener, hello(0, 2), 10)
    assert meeting.join(['no-such-host.invalid', 'localhost'], port(listener), hello(1, 2), 10).hello.host == 'b'
    assert len(first.result()) == 1


def test_a_port_that_something_else_has_is_one_line(listener):
  where = f'localhost:{port(listener)}'
  with pytest.raises(ConfigError, match='process 0 cannot use this port'):
    distributed.initialize(where, 2, 0, 2)
  with ThreadPoolExecutor(1) as pool:
    answer = pool.submit(lambda: listener.accept()[0].sendall(b'\x00\x00\x18\x04'))
    with pytest.raises(ConfigError, match='no answer from process 0 within 1 s'):
      distributed.initialize(where, 2, 1, 1)
    answer.result()
  with pytest.raises(ConfigError, match='must be HOST:PORT'):
    distributed.initialize('localhost', 2, 0, 2)

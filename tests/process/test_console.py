"""A console that goes away does not end a command, nor change its exit code."""

import os
from pathlib import Path
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.quick

ROOT = Path(__file__).parent.parent.parent
START = 'import sys; from maskrep.process.entry import run_process; run_process("program", sys.argv)'
SPEAKS = r'''
import logging, os, sys
from tqdm import tqdm
def main(argv):
  print('ready', flush=True)
  sys.stdin.read()
  for _ in tqdm(range(20), mininterval=0):
    print('äöü ' * 10_000)
    logging.getLogger('a').warning('a warning')
    print('more', file=sys.stderr)
  if argv[1:] != ['full']:
    os.write(1, b'as a library written in C')
  print(open(os.path.join(sys.path[-1], 'left'), 'w').fileno() > 2, file=open('came_through', 'w'))
  return 75
'''


def start(tmp_path, *arguments: str, **options) -> subprocess.Popen:
  (tmp_path / 'program.py').write_text(SPEAKS)
  env = os.environ | {'PYTHONPATH': f'{ROOT}:{tmp_path}', 'LC_ALL': 'POSIX', 'PYTHONUTF8': '0',
                      'PYTHONCOERCECLOCALE': '0'}
  return subprocess.Popen(
    [sys.executable, '-c', START, *arguments], cwd=tmp_path, env=env, stdin=subprocess.PIPE, **options)


@pytest.mark.parametrize('gone', ['both', 'output', 'error'])
def test_pipes_that_nobody_reads(tmp_path, gone):
  process = start(tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
  assert process.stdout.readline() == b'ready\n'
  if gone != 'error':
    process.stdout.close()
  if gone != 'output':
    process.stderr.close()
  process.stdin.close()
  said = b'' if process.stderr.closed else process.stderr.read()
  if gone == 'error':
    process.stdout.read()
  assert process.wait(timeout=20) == 75 and b'Error' not in said, said
  assert (tmp_path / 'came_through').read_text() == 'True\n'


def test_a_full_disk_and_closed_descriptors(tmp_path):
  with open('/dev/full', 'w') as full:
    process = start(tmp_path, 'full', stdout=full, stderr=full)
  process.communicate(b'', timeout=20)
  assert process.returncode == 75
  process = start(tmp_path, preexec_fn=lambda: os.closerange(1, 3))
  process.communicate(b'', timeout=20)
  assert process.returncode == 75 and (tmp_path / 'came_through').read_text() == 'True\n'


def test_a_terminal_that_is_closed(tmp_path):
  ours, theirs = os.openpty()
  process = start(tmp_path, stdout=theirs, stderr=theirs,
                  preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
  os.close(theirs)
  assert os.read(ours, 5) == b'ready'
  os.close(ours)  # from now on writing is an input/output error
  process.communicate(b'', timeout=20)
  assert process.returncode == 75 and (tmp_path / 'came_through').exists()

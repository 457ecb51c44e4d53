"""Runs on_eight_devices.py: how many devices there are is fixed when a process starts."""

import os
from pathlib import Path
import subprocess
import sys

import pytest

ROOT = Path(__file__).parent.parent.parent


# By -k: convolutions take minutes to compile, the others' data move as MSN's do, and what two and eight
# devices do without a split is what four and a split of eight do.
@pytest.mark.parametrize('chosen', [
  'not (mim or extrema or mscn or vqgan or two or unsplit)',
  pytest.param('mim or extrema or mscn or vqgan or two or unsplit', marks=pytest.mark.slow)])
def test_on_eight_devices(chosen):
  done = subprocess.run(
    [sys.executable, '-m', 'pytest', '-q', '-n', '0', '-k', chosen, 'tests/long/on_eight_devices.py'], cwd=ROOT,
    capture_output=True, text=True, env=os.environ | {
      'XLA_FLAGS': f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count=8'})
  assert done.returncode == 0, done.stdout

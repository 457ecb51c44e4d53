"""What is trained stays what it is: first states and losses of 20 steps, of every training config made small.

The figures were measured before the rooms were rebuilt. A change of them is a change of what is trained: to be made on
purpose, and said in the commit.
"""

import json

import pytest

from tests.long.test_configs import CONFIGS, load, made
from tests.support.pins import FILE, measure
from tests.support.tiny import shrink

PINS = json.loads(FILE.read_text())
QUICK = 'msn_digits', 'mim_digits'  # the other methods' losses are in tests/long/on_eight_devices.py too


def test_every_training_config_has_pins():
  assert PINS.keys() == {path.stem for path in CONFIGS}


@pytest.mark.parametrize('path', [
  pytest.param(path, id=path.stem, marks=() if path.stem in QUICK else pytest.mark.slow) for path in CONFIGS])
def test_first_state_and_losses_are_those_on_file(path):
  # The bits depend on the instructions of the processor, so what is compared is near equality.
  found, pins = measure(shrink(made(load(path)))), PINS[path.stem]
  assert found['leaves'] == pins['leaves'], 'the names, types and shapes of the state: checkpoints depend on them'
  assert found['mass'] == pytest.approx(pins['mass'], rel=1e-6)
  assert found['losses'] == pytest.approx(pins['losses'], rel=1e-3)

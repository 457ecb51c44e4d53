"""Steps compiled for accelerators that are not here, by their own compilers."""

import re

import pytest

from maskrep.cli import cost
from tests.support.processes import ROOT

DIGITS = f'--config={ROOT}/configs/msn_digits.py'
SMALL = ['--config.encoder.width=16', '--config.encoder.depth=1', '--config.encoder.heads=1', '--config.head.hidden=16',
         '--config.views.num_focal=0']


@pytest.mark.parametrize(('flags', 'said'), [
  (['--topology=h200'], '--topology=h200: must be one of v3, v4, v5e, v5p, v6e, a100, h100 and a size'),
  (['--topology=v5e:2x2', '--devices=4'], '--devices=4 and --topology=v5e:2x2: give one of them'),
  (['--fit'], '--fit: needs --topology')])
def test_flags_that_cannot_be(flags, said, capsys):
  assert cost.main(['cost', DIGITS, *flags]) == 2
  error = capsys.readouterr().err
  assert said in error and error.count('\n') == 1


def test_a_step_for_a_pod(capsys):
  pytest.importorskip('libtpu')
  assert cost.main(['cost', DIGITS, '--topology=v5e:2x2', *SMALL]) == 0
  said = capsys.readouterr().out
  for line in (r'^4 x TPU v5 lite, not here', r'in bfloat16', r'memory +[\d.]+ kB per device: .*; it has 17.2 GB: fits',
               r'sent +[\d.]+ .*all-reduce', r'estimate +at least [\d.e-]+ s per step', 'no measurement'):
    assert re.search(line, said, re.MULTILINE), said
  assert cost.main(['cost', DIGITS, '--topology=v5e:3x5', *SMALL]) == 2
  assert '--topology=v5e:3x5: ' in capsys.readouterr().err

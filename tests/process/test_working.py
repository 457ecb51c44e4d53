"""What takes long says so."""

import time

import pytest

from maskrep.process import working

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(('seconds', 'aloud', 'lines'), [(0, True, 0), (0.2, True, 2), (0.2, False, 0)])
def test_only_what_takes_long_is_said(seconds, aloud, lines, monkeypatch, capsys):
  monkeypatch.setattr(working, 'QUIET_S', 0.05)
  with working.working('compiling', aloud=aloud):
    time.sleep(seconds)
  said = capsys.readouterr().err.splitlines()
  assert len(said) == lines and all(line.startswith('compiling') for line in said)

"""The example of each public name, run in a folder with a run and two photos."""

import doctest

import numpy as np
from PIL import Image
import pytest

import maskrep
from maskrep.configs import msn_digits
from tests.support.stored import store
from tests.support.tiny import shrink

NAMES = [name for name in maskrep.__all__ if name != '__version__']


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('examples')
  (folder / 'runs').mkdir()
  store(shrink(msn_digits.get_config()), folder / 'runs' / 'msn_digits')
  (folder / 'photos').mkdir()
  for name in ('cat.jpg', 'dog.png'):
    Image.fromarray(np.full((9, 12, 3), 100, np.uint8)).save(folder / 'photos' / name)
  return folder


@pytest.mark.parametrize('name', NAMES)
def test_the_examples_are_true(name, folder, monkeypatch):
  monkeypatch.chdir(folder)
  names = {'maskrep': maskrep, 'encoder': maskrep.load('runs/msn_digits')}
  tests = [test for test in doctest.DocTestFinder().find(getattr(maskrep, name), name, globs=names) if test.examples]
  assert tests
  runner, said = doctest.DocTestRunner(), []
  for test in tests:
    runner.run(test, out=said.append)
  assert not runner.summarize(verbose=False).failed, ''.join(said)

"""The commands that draw what a trained encoder sees."""

import numpy as np
from PIL import Image
import pytest

from maskrep.cli.show import main
from maskrep.configs import extrema_digits
from maskrep.weights import native
from tests.support.encoders import CAIT, RESNET, pretrained
from tests.support.pictures import gradient
from tests.support.stored import store
from tests.support.tiny import shrink


@pytest.fixture(scope='session')
def folder(tmp_path_factory):
  """A run, two imports and an image."""
  root = tmp_path_factory.mktemp('seen')
  store(shrink(extrema_digits.get_config()), root / 'run')
  for name, config in ('cait', CAIT), ('resnet', RESNET):
    native.save(root / name, pretrained(name, config))
  Image.fromarray(gradient(24, 30)).save(root / 'a.png')
  return root


@pytest.mark.parametrize(('arguments', 'columns', 'rows', 'told'), [
  ('attention --workdir={0}/run', 6, 4, 'the mean of 2 heads: image, patch 5'),
  ('attention --workdir={0}/cait --images={0}/a.png --size=16 --queries=3,15 --each_head', 4, 4, 'of 3 heads and each'),
  pytest.param('inversion --workdir={0}/run --steps=2 --ratios=0.5', 3, 4, '2 steps; 50 % masked: loss',
               marks=pytest.mark.slow),
  ('locality --workdir={0}/run', 5, 4, 'mean IoU of the nearest box'),
  pytest.param('locality --workdir={0}/cait --images={0}/a.png,{0}/a.png --query={0}/a.png', 5, 2, 'of 25 boxes',
               marks=pytest.mark.slow),
], ids=lambda value: value.split(' --')[0] if isinstance(value, str) else None)
def test_each_is_drawn(arguments, columns, rows, told, folder, tmp_path, capsys):
  output = tmp_path / 'x.png'
  assert main(['show', *arguments.format(folder).split(), f'--output={output}']) == 0
  assert told in capsys.readouterr().out
  with Image.open(output) as picture:
    sheet = np.asarray(picture)
  blank = (sheet == 255).all(-1)
  assert rows * 96 < sheet.shape[0] < rows * 160 + 60 and columns * 96 < sheet.shape[1] < columns * 180 + 60
  assert not blank.all() and blank[:, -1].all() and blank[-1].all()  # nothing is cut off


@pytest.mark.parametrize(('arguments', 'named'), [
  ('attention --config=configs/msn_digits.py', 'needs; give --workdir'),
  ('attention --workdir={0}', 'holds no run'),
  ('attention --workdir={0}/resnet --images={0}/a.png', 'has no attention'),
  ('attention --workdir={0}/cait', '--images: are needed'),
  ('attention --workdir={0}/cait --images={0}/none.png', 'none.png: cannot be read'),
  ('attention --workdir={0}/cait --size=15', '--size=15'),
  ('attention --workdir={0}/cait --queries=64', '--queries=64'),
  ('attention --workdir={0}/cait --queries=1,1', '--queries=1,1'),
  ('attention --workdir={0}/cait --queries=a', '--queries=a: must be whole numbers'),
  ('attention --workdir={0}/cait --steps=3', '--steps=3: show attention does not read it'),
  ('masks --config=configs/msn_digits.py --size=3', '--size=3: show masks does not read it'),
  ('inversion --workdir={0}/resnet --images={0}/a.png', 'no patch can be left out'),
  ('inversion --workdir={0}/cait --ratios=0.5,1.0', '--ratios=0.5,1.0'),
  ('inversion --workdir={0}/cait --ratios=', '--ratios=: must be numbers'),
  ('inversion --workdir={0}/cait --steps=0', '--steps=0'),
  ('locality --workdir={0}/cait', '--data.source: is needed'),
  ('locality --workdir={0}/cait --images={0}/a.png', '--images and --query'),
  ('locality --workdir={0}/run --data.source=folder:{0}/none', 'none'),
  ('locality --workdir={0}/run --data.split=none', 'none'),
  ('locality --workdir={0}/cait --data.source=folder:{0}', '--data.source=folder:{0}: has no two images of a class'),
], ids=lambda value: value if value.startswith('--') else None)
def test_what_cannot_be_drawn_is_one_line(arguments, named, folder, tmp_path, capsys):
  assert main(['show', *arguments.format(folder).split(), f'--output={tmp_path}/x.png']) == 2
  line, = [line for line in capsys.readouterr().err.strip().splitlines() if line.startswith('maskrep: ')]
  assert named.format(folder) in line and not list(tmp_path.iterdir())



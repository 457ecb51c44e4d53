"""The command that draws what a config shows its network: it is what is trained on, and grey is what is dropped."""

import dataclasses
import io

import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest

from maskrep import rng
from maskrep.cli.show import main
from maskrep.configs import extrema_digits, mim_digits, mscn_digits, msn_digits, vqgan_digits
from maskrep.experiment.drawing import drawing, one_batch
from maskrep.experiment.experiment import Experiment
from maskrep.masking.tokens import disjoint_keep
from maskrep.show.masks import GREY, grey_out, masked_columns
from maskrep.show.sheet import sheet_png, zoom
from maskrep.show.views import columns, draw
from maskrep.workdir.config import store_config
from tests.support.pictures import encode
from tests.support.tiny import shrink

CONFIGS = {'msn': msn_digits, 'extrema': extrema_digits, 'mscn': mscn_digits, 'mim': mim_digits, 'vqgan': vqgan_digits}
VIEWS = {'msn': ['anchor 1', 'anchor 2', 'focal 1', 'focal 2', 'target'], 'extrema': ['student', 'teacher'],
         'mscn': ['first 1', 'first 2', 'second'], 'mim': ['image', 'supervised'], 'vqgan': ['image']}


@pytest.fixture(scope='module')
def drawn():
  """Objective and views of the method that is named, small; each is drawn once."""
  found = {}

  def make(method: str):
    if method not in found:
      config = shrink(CONFIGS[method].get_config())
      if method == 'msn':
        config.views.num_random = 2
      if method == 'mim':
        config.masking.update(ratio=0.5, supervised=True)
      experiment = Experiment.parse(config)
      objective = experiment.objective
      batch = one_batch(experiment.data, None, objective.reads, config.seed)
      found[method] = objective, draw(objective, batch, config.seed)
    return found[method]

  return make


def grey_patches(images: np.ndarray, patch: int) -> np.ndarray:
  """Those of which every pixel is grey, as a single one of a digit may be too: bool [B, N]."""
  b, h, w, _ = images.shape
  grey = (images == np.float32(GREY)).all(-1).reshape(b, h // patch, patch, w // patch, patch)
  return grey.all((2, 4)).reshape(b, -1)


@pytest.mark.parametrize('method', CONFIGS)
def test_every_method_shows_the_views_it_draws(method, drawn):
  objective, views = drawn(method)
  found = columns(objective, views)
  assert list(found) == VIEWS[method]
  for images in found.values():
    assert images.shape[0] == 4 and images.shape[-1] == 3 and len(images) == len(np.unique(images, axis=0))
  whole = found[VIEWS[method][-1]]
  if method == 'mscn':  # filtered, so around grey
    assert abs(np.median(whole) - 0.5) < 0.05 and views['second'].mean() < 0.2
  else:  # the pixels of digits: much is black, some is white
    assert whole.min() >= -1e-6 and whole.max() <= 1 + 1e-6 and np.median(whole) < 0.5 < whole.max()
    back = (whole - np.array(objective.preprocessing.mean)) / np.array(objective.preprocessing.std)
    name = VIEWS[method][-1].split()[0]
    np.testing.assert_allclose(back, views[name], atol=1e-5)


@pytest.mark.parametrize(('method', 'expected'), [
  ('msn', {'masked anchor 1': 5, 'masked anchor 2': 5}),  # of 16 patches: ratio 0.3 keeps 11
  ('extrema', {f'masked student {i}': 12 for i in (1, 2, 3)}),
  ('mim', {'masked image': 8, 'masked supervised': 8}),
])
def test_as_many_patches_are_grey_as_the_masks_drop(method, expected, drawn):
  objective, views = drawn(method)
  found = masked_columns(objective, views)
  for caption, dropped in expected.items():
    grey = grey_patches(found[caption], objective.encoder.patch_size)
    assert grey.shape == (4, 16) and grey.sum(1).tolist() == [dropped] * 4, caption
  assert list(found) == list(expected)
  # What is not grey is the view.
  whole = columns(objective, views)
  for caption, images in found.items():
    source = whole.get(caption.removeprefix('masked '), whole.get('student'))
    shown = (images != np.float32(GREY)).any(-1)
    np.testing.assert_array_equal(images[shown], source[shown])


def test_the_patches_that_are_kept_are_those_of_keep_idx(drawn):
  objective, views = drawn('extrema')
  found = masked_columns(objective, views)
  kept = set()
  for i in range(3):
    patches = np.flatnonzero(~grey_patches(found[f'masked student {i + 1}'], objective.encoder.patch_size)[2])
    assert patches.tolist() == views['keep_idx'][2, i].tolist() and not kept.intersection(patches)
    kept.update(patches)


def test_grey_out_by_hand():
  images = np.arange(2 * 4 * 6 * 3, dtype=np.float32).reshape(2, 4, 6, 3)
  found = grey_out(images, np.array([[0], [5]]), 2)
  np.testing.assert_array_equal(found[0, :2, :2], images[0, :2, :2])
  np.testing.assert_array_equal(found[1, 2:, 4:], images[1, 2:, 4:])
  assert grey_patches(found, 2).sum(1).tolist() == [5, 5]


def test_mscn_shows_its_masked_versions(drawn):
  objective, views = drawn('mscn')
  found = masked_columns(objective, views)
  assert list(found) == VIEWS['mscn']
  # The versions of a view differ by their masks alone: much is equal, not all.
  same = (found['first 1'] == found['first 2']).all(-1).mean()
  assert 0.1 < same < 0.95


def test_a_sheet_by_hand():
  random = np.random.default_rng(0)
  large, small = (random.integers(0, 256, (2, side, side, 3)) / 255 for side in (12, 6))
  with Image.open(io.BytesIO(sheet_png({'large': large, 'small': small - 1.5}))) as picture:
    sheet = np.asarray(picture)
  assert zoom(large, small) == 8
  assert sheet.shape == (16 + 2 * 100 + 4, 96 + 48 + 3 * 4, 3)
  for i in range(2):
    top = 20 + 100 * i
    np.testing.assert_array_equal(sheet[top:top + 96:8, 4:100:8], np.round(large[i] * 255))
    np.testing.assert_array_equal(sheet[top + 7:top + 96:8, 11:100:8], np.round(large[i] * 255))
    assert (sheet[top:top + 48, 104:152] == 0).all()  # clipped
  with pytest.raises(ValueError, match='equally many'):
    sheet_png({'a': large, 'b': small[:1]})


def test_given_images_are_drawn_into_a_file_that_is_replaced(tmp_path, capsys):
  random = np.random.default_rng(0)
  paths = []
  for i, size in enumerate([(8, 8), (20, 13)]):
    paths.append(str(tmp_path / f'{i}.png'))
    Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)).save(paths[-1])
  output = tmp_path / 'sheet.png'
  output.write_text('before')
  command = ['show', 'masks', '--config=configs/msn_digits.py', f'--images={",".join(paths)}', f'--output={output}',
             '--config.views.num_focal=0', '--config.masking.ratio=0.5']
  assert main(command) == 0
  with Image.open(output) as picture:
    sheet = np.asarray(picture)
  assert sheet.shape == (16 + 2 * 100 + 4, 96 + 2 * 4, 3)
  grey = (sheet == 128).all(-1)
  assert [grey[20 + 100 * i:116 + 100 * i, 4:100].mean() for i in range(2)] == pytest.approx([5 / 9] * 2)
  assert str(output) in capsys.readouterr().out
  assert {path.name for path in tmp_path.iterdir()} == {'0.png', '1.png', 'sheet.png'}


@pytest.mark.parametrize(('arguments', 'named'), [
  (['colours', '--config=configs/msn_digits.py', '--output=x.png'], 'colours: must be one of views, masks'),
  (['views', '--config=configs/msn_digits.py'], '--output'),
  (['views', '--output=x.png'], '--config and --workdir: one of them'),
  (['views', '--output={}/x.png', '--workdir={}'], 'holds no run'),
  (['views', '--config=configs/msn_digits.py', '--output=x.gif'], 'x.gif'),
  (['views', '--config=configs/msn_digits.py', '--output=no/such/folder/x.png'], 'no/such/folder'),
  (['views', '--config=configs/msn_digits.py', '--output={}/x.png', '--images=/missing.png'], '/missing.png'),
  (['views', '--config=configs/msn_digits.py', '--output={}/x.png', '--images=README.md'], 'README.md'),
  (['masks', '--config=configs/vqgan_digits.py', '--output={}/x.png'], 'has no masks'),
  (['views', '--config=configs/msn_digits.py', '--output={}/x.png', '--config.masking.ratio=1.0'], 'masking.ratio=1.0'),
], ids=lambda value: value if isinstance(value, str) else '')
def test_what_cannot_be_drawn_is_one_line(arguments, named, tmp_path, capsys):
  assert main(['show', *(argument.format(tmp_path) for argument in arguments)]) == 2
  error = capsys.readouterr().err.strip()
  assert named in error and len(error.splitlines()) == 1 and not list(tmp_path.iterdir())


def test_a_seed_draws_what_a_run_of_it_draws(drawn):
  """The key is the train step's, and the positions are the first."""
  _, views = drawn('extrema')
  keys = rng.fold(rng.per_example(rng.stream(0, 'views'), jnp.arange(4)), 2)
  np.testing.assert_array_equal(views['keep_idx'], disjoint_keep(keys, 16, 4, 3))


def test_images_are_drawn_from_the_whole_folder_and_follow_the_seed(tmp_path):
  """The first ones of sorted names are of one class."""
  for i in range(40):
    path = tmp_path / f'{i // 10}' / f'{i}.png'
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(encode(np.full((8, 8, 3), 5 * i, np.uint8), 'PNG'))
  data = Experiment.parse(msn_digits.get_config()).data
  data = dataclasses.replace(data, source=f'folder:{tmp_path}', eval_split='')
  shown = {seed: one_batch(data, None, ('image', 'label'), seed) for seed in range(8)}
  assert len({tuple(batch['image'][:, 0, 0, 0]) for batch in shown.values()}) == 8
  assert set(np.concatenate([batch['label'] for batch in shown.values()])) == {0, 1, 2, 3}
  np.testing.assert_array_equal(one_batch(data, None, ('image',), 3)['image'], shown[3]['image'])


def test_a_run_shows_what_its_config_shows(tmp_path):
  config = shrink(msn_digits.get_config())
  store_config(tmp_path, config.to_dict(), free=())
  (tmp_path / 'checkpoints').mkdir()
  assert main(['show', 'views', f'--workdir={tmp_path}', f'--output={tmp_path}/x.png']) == 0
  png, _ = drawing(Experiment.parse(config), 'views', None)
  assert (tmp_path / 'x.png').read_bytes() == png

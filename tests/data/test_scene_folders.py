"""Benchmarks of segmentation, in fabricated folders that are laid out as the published ones."""

from pathlib import Path

import numpy as np
from PIL import Image
import pytest
from scipy import io as scipy_io

from maskrep.data.batch import FIELDS
from maskrep.data.decode import decode_label_map
from maskrep.data.loader import in_order
from maskrep.data.sources.scene_folders import BENCHMARKS, SceneFolder
from maskrep.errors import ConfigError
from tests.support.pictures import encode, gradient

pytestmark = pytest.mark.quick

SIZE = 8, 9


def write(path: Path, content: bytes | str) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(content if isinstance(content, bytes) else content.encode())


def picture(path: Path) -> None:
  write(path, encode(gradient(*SIZE), 'JPEG' if path.suffix == '.jpg' else 'PNG'))


def stored(*values: int) -> np.ndarray:
  """A map with one value per row, the last for the rest."""
  return np.array([*values, *[values[-1]] * (SIZE[0] - len(values))], np.uint8)[:, None].repeat(SIZE[1], 1)


def classes(source: SceneFolder) -> dict[str, list[int]]:
  """Name of a picture -> the class of each row, up to the last that differs."""
  found = {}
  for i in range(len(source)):
    rows = decode_label_map(source[i].label_map, source.map_lookup, size=SIZE)[:, 0].tolist()
    while len(rows) > 1 and rows[-1] == rows[-2]:
      rows.pop()
    found[Path(source.name(i)).name] = rows
  return found


def ade20k(root: Path) -> None:
  for i in range(2):
    picture(root / f'images/validation/ADE_val_{i}.jpg')
    write(root / f'annotations/validation/ADE_val_{i}.png', encode(stored(0, 1 + i, 150), 'PNG'))


def pascal_voc(root: Path) -> None:
  """a: train; b: val, and in a list of SBD; c: train, and in a list of SBD with another map; d: SBD's alone."""
  voc, sbd = root / 'VOCdevkit/VOC2012', root / 'benchmark_RELEASE/dataset'
  palette = Image.fromarray(stored(0, 20, 255), 'P')
  palette.putpalette([7, 99, 3] * 256)
  for name in 'abcd':
    picture(voc / f'JPEGImages/{name}.jpg')
  for name in 'abc':
    write(voc / f'SegmentationClass/{name}.png', encode(palette, 'PNG'))
  for split, names in (('train', 'a c'), ('val', 'b'), ('trainval', 'a b c')):
    write(voc / f'ImageSets/Segmentation/{split}.txt', names.replace(' ', '\n') + '\n')
  for split, names in (('train', 'b\nd\n'), ('val', 'c\n')):
    write(sbd / f'{split}.txt', names)
  (sbd / 'cls').mkdir()
  for name in 'bcd':
    scipy_io.savemat(sbd / f'cls/{name}.mat', {'GTcls': {
      'Segmentation': stored(0, 3, 5), 'CategoriesPresent': np.array([[3], [5]]), 'Boundaries': np.zeros((20, 1))}},
      do_compression=True)


def pascal_context(root: Path) -> None:
  for name in ('2008_000002', '2008_000003'):
    picture(root / f'JPEGImages/{name}.jpg')
    write(root / f'SegmentationClassContext/{name}.png', encode(stored(0, 1, 59), 'PNG'))
  write(root / 'ImageSets/SegmentationContext/train.txt', '2008_000002\n')
  write(root / 'ImageSets/SegmentationContext/val.txt', '2008_000003\n')


def cityscapes(root: Path) -> None:
  for city in ('bonn', 'ulm'):
    frame = f'{city}/{city}_000000_000019'
    picture(root / f'leftImg8bit/val/{frame}_leftImg8bit.png')
    for kind, values in (('labelIds', (0, 6, 7, 8, 26, 33)), ('instanceIds', (1,)), ('color', (2,))):
      write(root / f'gtFine/val/{frame}_gtFine_{kind}.png', encode(stored(*values), 'PNG'))


LAYOUTS = {'ade20k': ade20k, 'pascal_voc': pascal_voc, 'pascal_context': pascal_context,
           'pascal_context_59': pascal_context, 'cityscapes': cityscapes}
CASES = [
  ('ade20k', 'validation', 150, {'ADE_val_0.jpg': [255, 0, 149], 'ADE_val_1.jpg': [255, 1, 149]}),
  ('pascal_voc', 'train', 21, dict.fromkeys(('a.jpg', 'c.jpg'), [0, 20, 255])),
  ('pascal_voc', 'val', 21, {'b.jpg': [0, 20, 255]}),
  ('pascal_voc', 'trainaug', 21, dict.fromkeys(('a.jpg', 'c.jpg'), [0, 20, 255]) | {'d.jpg': [0, 3, 5]}),
  ('pascal_context', 'train', 60, {'2008_000002.jpg': [0, 1, 59]}),
  ('pascal_context_59', 'val', 59, {'2008_000003.jpg': [255, 0, 58]}),
  ('cityscapes', 'val', 19, {f'{city}_000000_000019_leftImg8bit.png': [255, 255, 0, 1, 13, 18]
                             for city in ('bonn', 'ulm')}),
]


@pytest.mark.parametrize('kind, split, count, expected', CASES)
def test_pictures_have_the_classes_of_their_maps(kind, split, count, expected, tmp_path):
  LAYOUTS[kind](tmp_path)
  source = SceneFolder(kind, str(tmp_path), split)
  assert source.map_classes == count and source.side == 9 and classes(source) == expected
  batch = next(in_order(source, batch_size=len(source), canvas=9, threads=1, stall_timeout_s=60, reads=FIELDS))
  assert batch['valid'].all() and (batch['label'] == -1).all()
  assert batch['label_map'][:, 0, 0].tolist() == [rows[0] for rows in expected.values()]


def test_every_benchmark_is_tested():
  assert {kind for kind, *_ in CASES} == LAYOUTS.keys() == BENCHMARKS.keys()


def test_fingerprints_are_of_the_files_not_of_their_place(tmp_path):
  for place in ('one', 'other'):
    pascal_voc(tmp_path / place)
  prints = [SceneFolder('pascal_voc', str(tmp_path / place), 'train').fingerprint for place in ('one', 'other')]
  (tmp_path / 'one/VOCdevkit/VOC2012/SegmentationClass/a.png').write_bytes(encode(stored(3), 'PNG') + b'more')
  changed = SceneFolder('pascal_voc', str(tmp_path / 'one'), 'train').fingerprint
  assert prints[0] == prints[1] != changed != SceneFolder('pascal_voc', str(tmp_path / 'other'), 'val').fingerprint


def test_what_is_missing_is_named(tmp_path):
  for kind in ('ade20k', 'cityscapes', 'pascal_voc', 'pascal_context'):
    root, split = tmp_path / kind, 'test'
    with pytest.raises(ConfigError, match=f'config.data.source={kind}:.*: is not a folder') as none:
      SceneFolder(kind, str(root), split)
    LAYOUTS[kind](root)
    with pytest.raises(ConfigError, match=f'{split}.* split') as unknown:
      SceneFolder(kind, str(root), split)
    assert '\n' not in f'{none.value}{unknown.value}'
  (tmp_path / 'ade20k/annotations/validation/ADE_val_1.png').unlink()
  with pytest.raises(ConfigError, match='config.data.source=ade20k:.*: lacks .*ADE_val_1.png'):
    SceneFolder('ade20k', str(tmp_path / 'ade20k'), 'validation')


@pytest.mark.parametrize('kind, lay_out, file, split', [
  ('pascal_context', pascal_context, 'ImageSets/SegmentationContext/val.txt', 'val'),
  ('cityscapes', cityscapes, 'leftImg8bit/test/none.png', 'test')])
def test_a_split_without_pictures_is_refused(kind, lay_out, file, split, tmp_path):
  lay_out(tmp_path)
  write(tmp_path / file, '')
  with pytest.raises(ConfigError, match=f"config.data.source={kind}:.*: split '{split}' has no picture"):
    SceneFolder(kind, str(tmp_path), split)


def test_a_damaged_map_of_sbd_is_one_broken_image(tmp_path):
  pascal_voc(tmp_path)
  write(tmp_path / 'benchmark_RELEASE/dataset/cls/d.mat', b'MATLAB 5.0' + bytes(200))
  source = SceneFolder('pascal_voc', str(tmp_path), 'trainaug')
  with pytest.raises(OSError, match='its label map: '):
    source[2]

"""Folders of images: their labels, splits and order, and the one line that they fail with."""

import dataclasses
import os

import numpy as np
import pytest

from maskrep.data.datasets import open_source
from maskrep.data.decode import decode
from maskrep.data.limits import MAX_BYTES
from maskrep.data.sources.folder import Folder
from maskrep.errors import ConfigError
from tests.support.evaluator import DATA
from tests.support.pictures import encode, gradient, png16

pytestmark = pytest.mark.quick


def fails(action, remedy: str) -> str:
  """The message, of one line."""
  with pytest.raises(ConfigError, match=remedy) as failure:
    action()
  assert '\n' not in str(failure.value)
  return str(failure.value)


def write(root, *names, size=(6, 8)):
  for name in names:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(gradient(*size), 'PNG'))


def seen(source) -> list[tuple[str, int]]:
  return [(os.path.relpath(example.name, source._root), example.label) for example in source]


def test_flat_folder_has_no_labels_and_a_fixed_order(tmp_path):
  write(tmp_path, 'b.PNG', 'a.jpeg', 'c.Webp', '.hidden.png', 'notes.txt')
  source = Folder(str(tmp_path), 'train')
  assert seen(source) == [('a.jpeg', -1), ('b.PNG', -1), ('c.Webp', -1)]
  assert source.num_classes == 0 and source.class_names is None
  assert decode(source[0].image, canvas=8).shape == (6, 8, 3)


def test_class_folders_are_labels_at_any_depth(tmp_path):
  write(tmp_path, 'dog/2.png', 'cat/deep/er/1.png', 'cat/3.png', '.cache/x.png')
  (tmp_path / 'none').mkdir()
  source = Folder(str(tmp_path), 'train')
  assert seen(source) == [('cat/3.png', 0), ('cat/deep/er/1.png', 0), ('dog/2.png', 1)]
  assert source.num_classes == 3 and source.class_names == ('cat', 'dog', 'none')


def test_splits_are_sub_folders_and_share_the_labels_of_train(tmp_path):
  write(tmp_path, 'train/a/1.png', 'train/b/1.png', 'train/c/1.png', 'val/c/1.png')
  assert seen(Folder(str(tmp_path), 'train')) == [('a/1.png', 0), ('b/1.png', 1), ('c/1.png', 2)]
  val = Folder(str(tmp_path), 'val')
  assert seen(val) == [('c/1.png', 2)] and val.num_classes == 3


def test_labels_of_one_split_do_not_need_another(tmp_path):
  write(tmp_path, 'train/1.png', 'val/c/1.png')
  assert Folder(str(tmp_path), 'train').num_classes == 0
  assert seen(Folder(str(tmp_path), 'val')) == [('c/1.png', 0)]


def test_fingerprint_follows_the_files_and_not_their_place(tmp_path):
  for name in ('one', 'two'):
    write(tmp_path / name, 'a/1.png', 'b/2.png')
  first, second = (Folder(str(tmp_path / name), 'train').fingerprint for name in ('one', 'two'))
  assert first == second
  write(tmp_path / 'two', 'b/2.png', size=(9, 9))
  third = Folder(str(tmp_path / 'two'), 'train').fingerprint
  write(tmp_path / 'two', 'b/3.png')
  assert len({first, third, Folder(str(tmp_path / 'two'), 'train').fingerprint}) == 3


@pytest.mark.parametrize('names, split, remedy', [
  ([], 'train', 'is not a folder; give the path'),
  (['notes.txt'], 'train', 'has no image in .*; looked for .jpg'),
  (['notes.txt', 'a.HEIC', 'b.heic'], 'train', 'looked for .*, and found 2 .heic, 1 .txt'),
  (['a.png'], 'val', "has no sub-folder 'val'"),
  (['1.png', 'dog/2.png', 'dog/3.png'], 'train', '1 of the 3 images in .* lie beside its sub-folders, as 1.png.*move'),
  (['train/1.png', 'train/dog/2.png'], 'train', '1 of the 2 images in .*/train lie beside its sub-folders, as 1.png'),
  (['train/a/1.png', 'val/b/1.png'], 'val', "b/1.png of split 'val' is of a class that 'train' lacks"),
])
def test_folders_fail_in_one_line(tmp_path, names, split, remedy):
  path = tmp_path / 'images'
  write(path, *names)
  assert fails(lambda: Folder(str(path), split), remedy).startswith(f'config.data.source=folder:{path}: ')


def test_folder_without_a_readable_image_fails_in_one_line(tmp_path):
  for i in range(40):
    (tmp_path / f'{i}.jpg').write_text('<html>')
  fails(lambda: Folder(str(tmp_path), 'train'), 'has no image that can be read')
  write(tmp_path, '0.jpg')
  assert len(Folder(str(tmp_path), 'train')) == 40


def test_a_file_above_the_limit_is_not_read_to_its_end(tmp_path):
  write(tmp_path, '1.png')
  with (tmp_path / '2.png').open('wb') as file:
    file.truncate(10**9)
  assert len(Folder(str(tmp_path), 'train')[1].image) < 2 * MAX_BYTES


def opened(path, split: str, evaluation: str, train: str = 'train'):
  return open_source(dataclasses.replace(
    DATA, source=f'folder:{path}', train_split=train, eval_split=evaluation), split)


@pytest.mark.parametrize('classes', [('',), ('a/', 'b/')], ids=['flat', 'classes'])
def test_a_share_of_the_images_is_for_evaluation_and_an_image_more_moves_no_other(tmp_path, classes):
  write(tmp_path, *(f'{folder}{i}.png' for folder in classes for i in range(200)))
  train, test = (opened(tmp_path, split, '10%') for split in ('train', '10%'))
  whole = Folder(str(tmp_path), 'train')
  assert sorted(seen(train) + seen(test)) == sorted(seen(whole))
  assert 0.05 < len(test) / len(whole) < 0.15
  assert train.num_classes == test.num_classes == len(classes) * (classes != ('',))
  assert len({train.fingerprint, test.fingerprint, whole.fingerprint}) == 3
  write(tmp_path, *(f'{classes[-1]}new{i}.png' for i in range(20)))
  assert set(seen(test)) < set(seen(opened(tmp_path, '10%', '10%')))
  assert set(seen(train)) < set(seen(opened(tmp_path, 'train', '10%')))


def test_a_share_of_a_split_is_of_its_sub_folder_and_leaves_others_alone(tmp_path):
  write(tmp_path, *(f'{split}/a/{i}.png' for split in ('train', 'val') for i in range(9)))
  train, test, val = (opened(tmp_path, split, '50%') for split in ('train', '50%', 'val'))
  assert len(train) + len(test) == len(val) == 9


@pytest.mark.parametrize('share', ['0%', '100%', '-5%', 'x%', '%', 'nan%'])
def test_a_share_is_between_none_and_all(tmp_path, share):
  write(tmp_path, *(f'{i}.png' for i in range(9)))
  for split in ('train', share):
    fails(lambda split=split: opened(tmp_path, split, share), f"config.data.eval_split='{share}': must be a share ")


@pytest.mark.parametrize('share, none', [('10%', 'evaluation'), ('90%', 'training')])
def test_a_share_leaves_images_on_both_sides(tmp_path, share, none):
  write(tmp_path, '1.png')
  for split in ('train', share):
    fails(lambda split=split: opened(tmp_path, split, share), f"eval_split='{share}': of 1 images .* none for {none}")


def test_the_training_images_hold_no_split_beside_them(tmp_path):
  write(tmp_path, 'a/1.png', 'b/2.png', 'val/a/1.png')
  fails(lambda: opened(tmp_path, 'train', 'val'), "'val'.* 'train' is none, so it would be the whole folder with 'val'")
  assert len(opened(tmp_path, 'train', '')) == 3


def test_all_images_of_sixteen_bits_have_the_scale_of_the_brightest_looked_at(tmp_path, caplog):
  for i, largest in enumerate((200, 3000, 40_000)):
    (tmp_path / 'dark').mkdir(exist_ok=True)
    path = tmp_path / ('dark' if largest < 4096 else '') / f'{i}.png'
    path.write_bytes(png16(np.full((4, 4), largest, np.uint16)))
  dark = Folder(str(tmp_path / 'dark'), 'train')
  assert [decode(image, canvas=4, bits=bits)[0, 0, 0] for image, *_, bits in dark] == [200 >> 4, 3000 >> 4]
  assert 'images of 16 bits in ' in caplog.text and 'read as if they had 12' in caplog.text
  (tmp_path / '2.png').rename(tmp_path / 'dark/2.png')
  bright = Folder(str(tmp_path / 'dark'), 'train')
  assert [example.bits for example in bright] == [16] * 3


def test_the_home_folder_is_meant_by_a_tilde(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  write(tmp_path, 'pictures/1.png')
  assert len(opened('~/pictures', 'train', '')) == 1


def test_the_summary_counts_images_classes_and_what_is_passed_over(tmp_path):
  write(tmp_path, 'cat/1.png', 'cat/2.png', 'dog/1.png', 'cat/.DS_Store', 'cat/a.heic', 'dog/b.HEIC', 'README')
  (tmp_path / 'none').mkdir()
  assert Folder(str(tmp_path), 'train').summary == (
    '3 images, 3 classes: cat 2, dog 1, none 0; passed over: 2 .heic, 1 without suffix, 1 hidden')
  flat = tmp_path / 'dog'
  assert Folder(str(flat), 'train').summary == '1 image, without labels; passed over: 1 .heic'
  write(tmp_path / 'many', *(f'{c}/{i}.png' for c in 'abcdefghijk' for i in range(1 + (c == 'b'))))
  assert Folder(str(tmp_path / 'many'), 'train').summary == (
    '12 images, 11 classes of 1 to 2 images, median 1')

import numpy as np
import pytest

from maskrep.data.datasets import Data, open_source
from maskrep.data.lists import matching, places, read_list
from maskrep.data.sources.folder import Folder
from maskrep.errors import ConfigError
from tests.support.pictures import encode

pytestmark = pytest.mark.quick


@pytest.fixture
def folder(tmp_path):
  for name in ('a/x_1.png', 'a/x_2.png', 'b/y_1.png', 'b/y_2.png', 'b/y_3.png'):
    (tmp_path / 'train' / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / 'train' / name).write_bytes(encode(np.zeros((2, 2, 3), np.uint8), 'PNG'))
  return Folder(str(tmp_path), 'train')


def test_names_are_found_with_and_without_folders(folder, tmp_path):
  (tmp_path / 'list.txt').write_text('y_3.png\nsomewhere/a/x_2.png \n\ny_1.png\n')
  np.testing.assert_array_equal(read_list('list=x', str(tmp_path / 'list.txt'), places(folder)), [1, 2, 4])


@pytest.mark.parametrize(('text', 'message'), [
  ('', 'names no image'), ('y_1.png\nb/y_1.png', 'names an image twice'), ('z.png', "'z.png' is not there")])
def test_a_list_that_is_none(folder, tmp_path, text, message):
  (tmp_path / 'list.txt').write_text(text)
  with pytest.raises(ConfigError, match=message):
    read_list('list=x', str(tmp_path / 'list.txt'), places(folder))


def test_an_ambiguous_name_and_no_file(folder, tmp_path):
  (tmp_path / 'train/b/x_1.png').write_bytes((tmp_path / 'train/a/x_1.png').read_bytes())
  (tmp_path / 'list.txt').write_text('x_1.png')
  with pytest.raises(ConfigError, match="'x_1.png' is there more than once"):
    read_list('list=x', str(tmp_path / 'list.txt'), places(Folder(str(tmp_path), 'train')))
  with pytest.raises(ConfigError, match='cannot be read'):
    read_list('list=x', str(tmp_path / 'none.txt'), places(folder))


def test_the_training_split_is_what_the_list_names(folder, tmp_path):
  """Its classes are those of the whole: the list has an image of one of them alone."""
  (tmp_path / 'list.txt').write_text('y_2.png\ny_3.png\n')
  (tmp_path / 'val').symlink_to('train')
  data = Data(source=f'folder:{tmp_path}', train_split='train', eval_split='val', download=False, canvas=2, threads=1,
              max_broken_fraction=0.0, stall_timeout_s=60, list=str(tmp_path / 'list.txt'))
  train, whole = open_source(data, 'train'), open_source(data, 'val')
  assert [train[i].label for i in range(len(train))] == list(train.labels) == [1, 1]
  assert train.name(0).endswith('b/y_2.png')
  assert (train.num_classes, train.class_names, train.side) == (2, ('a', 'b'), 2)
  assert train.summary.startswith('2 by a list, of 5 images') and len(whole) == 5
  (tmp_path / 'list.txt').write_text('y_1.png\ny_3.png\n')
  assert open_source(data, 'train').fingerprint != train.fingerprint
  (tmp_path / 'list.txt').write_text('z.png')
  with pytest.raises(ConfigError, match="^config.data.list='.*list.txt': 'z.png' is not there"):
    open_source(data, 'train')


def test_a_pattern_without_a_file_is_answered_as_a_file_that_is_missing(tmp_path):
  (tmp_path / 'b.txt').touch()
  (tmp_path / 'a.txt').touch()
  there, missing = f'{tmp_path}/*.txt', f'{tmp_path}/*.csv'
  assert matching((there, missing)) == {
    there: [f'{tmp_path}/a.txt', f'{tmp_path}/b.txt'], missing: [missing]}

import numpy as np
import pytest

from maskrep.data.lists import places, read_list
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
  np.testing.assert_array_equal(read_list(str(tmp_path / 'list.txt'), places(folder)), [1, 2, 4])


@pytest.mark.parametrize(('text', 'message'), [
  ('', 'names no image'), ('y_1.png\nb/y_1.png', 'names an image twice'), ('z.png', "'z.png' is not there")])
def test_a_list_that_is_none(folder, tmp_path, text, message):
  (tmp_path / 'list.txt').write_text(text)
  with pytest.raises(ConfigError, match=message):
    read_list(str(tmp_path / 'list.txt'), places(folder))


def test_an_ambiguous_name_and_no_file(folder, tmp_path):
  (tmp_path / 'train/b/x_1.png').write_bytes((tmp_path / 'train/a/x_1.png').read_bytes())
  (tmp_path / 'list.txt').write_text('x_1.png')
  with pytest.raises(ConfigError, match="'x_1.png' is there more than once"):
    read_list(str(tmp_path / 'list.txt'), places(Folder(str(tmp_path), 'train')))
  with pytest.raises(ConfigError, match='cannot be read'):
    read_list(str(tmp_path / 'none.txt'), places(folder))

"""Lists of UnED, in the layout in which they are published, and the pictures that they name."""

import json
from pathlib import Path

import numpy as np
import pytest

from maskrep.data.decode import decode
from maskrep.data.sources.uned import UnED
from maskrep.errors import ConfigError
from tests.support.pictures import encode, put_uned

pytestmark = pytest.mark.quick


def test_a_list_names_pictures_and_their_classes(tmp_path):
  put_uned(tmp_path, 'gldv2', 'test', [((9, 0, 0), 5), ((0, 9, 0), [7, 5])])
  source = UnED(str(tmp_path), 'gldv2/test')
  assert source.classes == [{5}, {7, 5}] and source.domain == 'gldv2' and source.num_classes == 0
  assert [example.label for example in source] == [0, 1], 'its own number'
  assert decode(source[1].image, canvas=8)[0, 0].tolist() == [0, 9, 0]
  assert source.name(1) == source[1].name == str(tmp_path / 'images' / 'gldv2' / 'test_1.png')
  assert source.summary == '2 images of 2 classes' and source.side == 4
  put_uned(tmp_path, 'gldv2', 'index', [((9, 0, 0), 5), ((0, 9, 0), [7, 5])])
  assert UnED(str(tmp_path), 'gldv2/index').fingerprint != source.fingerprint


def test_names_that_unzip_has_written_otherwise(tmp_path):
  folder = tmp_path / 'images' / 'rp2k'
  folder.mkdir(parents=True)
  (tmp_path / 'info_files' / 'rp2k').mkdir(parents=True)
  picture = encode(np.full((4, 4, 3), 7, np.uint8), 'PNG')
  for name in '#U4e2d#U00e9.png', '\u5357.png':
    (folder / name).write_bytes(picture)
  (tmp_path / 'info_files' / 'rp2k' / 'test.json').write_text(json.dumps(
    [{'path': f'rp2k/{name}.png', 'class_id': 0} for name in ('\u4e2d\u00e9', '\u5357')]))
  source = UnED(str(tmp_path), 'rp2k/test')
  assert [Path(source.name(i)).name for i in range(2)] == ['#U4e2d#U00e9.png', '\u5357.png']
  assert [example.image for example in source] == [picture] * 2


@pytest.mark.parametrize('text, problem', [
  (None, r'its list .*cars.test\.json cannot be read .* give the folder with info_files and images of UnED'),
  ('[', 'cannot be read'),
  ('{"a": 1}', 'entry 0 of .* has no path with class_id'),
  ('[{"path": "cars/test_0.png", "class_id": 3}, {"path": "cars/test_0.png"}]', 'entry 1 of '),
  ('[{"path": "cars/test_0.png", "class_id": "3"}]', 'entry 0 of '),
  ('[{"path": "cars/test_0.png", "class_id": []}]', 'entry 0 of '),
  ('[{"path": 3, "class_id": 3}]', 'entry 0 of '),
  ('[]', 'names no image'),
  ('[{"path": "cars/other.png", "class_id": 3}]', 'has no image that can be read'),
])
def test_other_files_are_refused_in_one_line(tmp_path, text, problem):
  put_uned(tmp_path, 'cars', 'test', [((9, 0, 0), 5)])
  file = tmp_path / 'info_files' / 'cars' / 'test.json'
  file.unlink()
  if text is not None:
    file.write_text(text)
  with pytest.raises(ConfigError, match=problem) as failure:
    UnED(str(tmp_path), 'cars/test')
  assert '\n' not in str(failure.value)

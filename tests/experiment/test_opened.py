"""What is opened before a run: its images, and whether their splits fit each other."""

import numpy as np
import pytest

from configs import msn_digits
from maskrep.errors import ConfigError
from maskrep.experiment.experiment import Experiment
from maskrep.experiment.opened import open_experiment
from tests.support.pictures import encode, gradient

pytestmark = pytest.mark.quick

PICTURE = gradient(8, 8)


def opened(path, *names: str, picture=PICTURE, labels: int = 1):
  for name in names:
    (path / name).parent.mkdir(parents=True, exist_ok=True)
    (path / name).write_bytes(encode(picture, 'PNG'))
  config = msn_digits.get_config()
  config.batch_size = 2
  config.data.update(source=f'folder:{path}', eval_split='val')
  config.eval.lowshot.labels_per_class = (labels,)
  config.eval.knn.neighbours = (1,)
  return open_experiment(Experiment.parse(config))


def test_an_evaluation_split_has_labels_if_the_training_split_has(tmp_path):
  with pytest.raises(ConfigError, match="config.data.eval_split='val': has no labels, and 'train' has; name a split"):
    opened(tmp_path, 'train/a/1.png', 'train/b/2.png', 'val/1.png')


def test_a_class_with_too_few_images_for_the_final_table_is_refused_at_the_start(tmp_path):
  names = 'train/a/1.png', 'train/a/2.png', 'train/a/3.png', 'train/b/1.png', 'val/a/1.png'
  opened(tmp_path, *names)
  with pytest.raises(ConfigError, match=r'lowshot.labels_per_class=\(2,\): class b has 1 of the 4 examples; lower it'):
    opened(tmp_path, *names, labels=2)


def test_a_run_says_what_it_is_trained_and_evaluated_on(tmp_path):
  (tmp_path / 'val/b').mkdir(parents=True)
  (tmp_path / 'val/b/notes.txt').touch()
  found = opened(tmp_path, 'train/a/1.png', 'train/b/2.png', 'val/b/1.png')
  assert found.summary.splitlines() == [
    f'training on folder:{tmp_path}, train: 2 images, 2 classes: a 1, b 1',
    f'evaluation on folder:{tmp_path}, val: 1 image, 2 classes: a 0, b 1; passed over: 1 .txt']


def test_a_canvas_that_shrinks_images_below_the_views_is_refused(tmp_path):
  """Of 8 pixels it is right for images of 8, as the digits are, although the views have 12."""
  names = 'train/1.png', 'train/2.png', 'val/1.png'
  opened(tmp_path / 'as large', *names)
  with pytest.raises(ConfigError, match='would reduce images of up to 9 pixels below the size of the views, 12'):
    opened(tmp_path / 'larger', *names, picture=gradient(8, 9))


def test_images_that_are_nearly_constant_are_reported(tmp_path, caplog):
  names = 'train/1.png', 'train/2.png', 'val/1.png'
  opened(tmp_path / 'usual', *names)
  assert not caplog.records
  opened(tmp_path / 'dull', *names, picture=np.arange(64, dtype=np.uint8).reshape(8, 8) // 5)
  assert '2 of 2 images that were looked at are nearly constant' in caplog.text

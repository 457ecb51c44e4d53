"""Semi-supervised fine-tuning of a run of ExtreMA from end to end, on lists of images."""

import json

from flax.traverse_util import flatten_dict
import numpy as np
import pytest

from maskrep.cli import evaluate
from maskrep.configs import extrema_digits
from maskrep.data.sources.digits import Digits
from maskrep.experiment.stored import open_run, restore
from tests.support.stored import store
from tests.support.tiny import shrink

GIVEN = {
  'data.source': 'digits', 'data.eval_split': 'test', 'data.canvas': 8, 'data.threads': 1, 'batch_size': 20,
  'train.epochs': 8.0, 'optim.learning_rate': 1e-2, 'views.size': 0, 'views.crop_scale': (0.8, 1.0), 'views.flip': 0.0,
  'views.rand_layers': 0, 'regularisation.mixup_alpha': 0.0, 'regularisation.cutmix_alpha': 0.0,
  'eval.crop_fraction': 1.0, 'eval.batch_size': 359, 'eval.protocols': ()}


@pytest.mark.slow
def test_two_images_per_class_of_two_lists(tmp_path):
  folder, digits = tmp_path / 'run', Digits('train')
  there = store(shrink(extrema_digits.get_config()), folder)
  for i in range(2):
    chosen = [np.flatnonzero(digits.labels == c)[2 * i:2 * i + 2] for c in range(10)]
    (tmp_path / f'{i}.txt').write_text('\n'.join(digits.name(int(each)) for each in np.concatenate(chosen)))
  given = [f'--config.{name}={value}' for name, value in GIVEN.items()]
  assert evaluate.main(['', 'finetune', f'--workdir={folder}', '--config=finetune_extrema_semi', *given,
                        f"--config.lists=('{tmp_path}/*.txt',)"]) == 0
  record = json.loads((folder / 'evaluations.jsonl').read_text().splitlines()[-1])
  lists = [str(tmp_path / f'{i}.txt') for i in range(2)]
  assert record['settings']['lists'] == lists and 'list' not in record['data']
  *each, mean = record['figures']
  assert [figure['name'] for figure in each] == [f'top-1, list {path}' for path in lists]
  assert mean['name'] == 'mean top-1 of 2 lists' and mean['value'] == pytest.approx(
    np.mean([figure['value'] for figure in each]))

  run = open_run('', folder / each[0]['note'])
  assert run.experiment.data.list == lists[0]
  trained = flatten_dict(restore('', run, {'params': {'projector': run.params['projector']}})['params']['projector'])
  assert trained.keys() == {('fc1', 'kernel'), ('fc1', 'bias'), ('norm1', 'scale'), ('norm1', 'bias')}
  before = there.ema_params['projector']['fc1']['kernel']
  assert 0 < np.abs(trained['fc1', 'kernel'] - before).max() < 1, 'it moves from where the run left it'

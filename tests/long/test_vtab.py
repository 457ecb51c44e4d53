"""VTAB's protocol by its command, on real digits in the layout of two of its data sets."""

import io
import json

import pytest
import tensorflow_datasets as tfds

from maskrep.cli import evaluate
from maskrep.configs import msn_digits
from maskrep.data.sources.digits import Digits
from maskrep.experiment import vtab
from maskrep.experiment.run import run
from tests.support.pictures import encode, prepare
from tests.support.tiny import shrink

SPLITS = {'train': ('train', range(800)), 'validation': ('train', range(800, 1000)), 'test': ('test', range(359))}


def put(data_dir, dataset: str, fields: dict, shift: int) -> None:
  """Prepares the digits as a data set of tfds; in its test split the label is another digit, by `shift`."""
  def records(split: str) -> list[dict]:
    source, numbers = SPLITS[split]
    digits = Digits(source)
    return [{'image': io.BytesIO(encode(digits[i].image[..., None].repeat(3, -1), 'PNG')), 'file_name': str(i),
             'label': (digits[i].label + (shift if split == 'test' else 0)) % 10} | fields for i in numbers]

  features = dict(tfds.builder(dataset, data_dir=data_dir).info.features.items())
  prepare(data_dir, features, {split: records(split) for split in SPLITS}, name=dataset)


@pytest.mark.slow
def test_the_test_split_has_no_part_in_the_choice(tmp_path, monkeypatch, capfd):
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path / 'data'))
  put(tmp_path / 'data', 'dtd', {}, shift=0)
  # What is learned here is wrong in the test, so that a choice by the test would fall on the setting that learns least.
  put(tmp_path / 'data', 'oxford_flowers102', {}, shift=1)
  run(shrink(msn_digits.get_config()), tmp_path / 'run')
  changes = {
    'vtab.tasks': ('vtab_dtd', 'vtab_flowers102'), 'vtab.learning_rates': (1e-7, 0.1), 'vtab.steps': (150,),
    'vtab.warmup_steps': (10,), 'batch_size': 32, 'eval.batch_size': 200, 'views.size': 18, 'data.canvas': 16,
    'data.threads': 1, 'train.checkpoint_every_steps': 50}
  arguments = ['', 'vtab', f'--workdir={tmp_path / "run"}',
               *(f'--config.{name}={value}' for name, value in changes.items())]
  assert evaluate.main(arguments) == 0
  printed = capfd.readouterr().out.splitlines()[-2:]
  record = json.loads((tmp_path / 'run' / 'evaluations.jsonl').read_text().splitlines()[-1])
  dtd, flowers = record['figures']
  assert [figure['note'].partition(':')[0] for figure in (dtd, flowers)] == ['learning rate 0.1, 150 steps'] * 2
  assert dtd['value'] > 0.5 and flowers['value'] < 0.1
  assert record['encoding']['size'] == 16 and record['encoding']['squash'], 'complete patches of 4 pixels'
  assert record['data']['images']['vtab_dtd'] == {'train800': 800, 'val200': 200, 'train': 1000, 'test': 359}
  monkeypatch.setattr(vtab, 'run', None)  # all runs have finished
  assert evaluate.main(arguments) == 0 and capfd.readouterr().out.splitlines()[-2:] == printed

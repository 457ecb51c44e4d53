"""The command: what it prints, what it records, what it does not compute twice, and what it refuses."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from maskrep import rng
from maskrep.augment.views import eval_views
from maskrep.cli import evaluate
from maskrep.configs import msn_digits
from maskrep.data.datasets import Data
from maskrep.evaluation import features
from maskrep.evaluation.encoders import StoredEncoder
from maskrep.evaluation.encoding import Encoding
from maskrep.evaluation.evaluator import Evaluator
from maskrep.evaluation.result import cell
from maskrep.experiment import stored
from maskrep.masking.tokens import random_keep
from maskrep.weights import native
from maskrep.weights.pretrained import module, variables
from maskrep.workdir.config import load_config
from tests.support.encoders import VIT, pretrained
from tests.support.stored import store
from tests.support.tiny import shrink

SMALL = {'encoding.batch_size': 120}
PROTOCOLS = {'knn': {'neighbours': (1, 5)}, 'retrieval': {}, 'lowshot': {'labels_per_class': (1, 5), 'draws': 2},
             'lowshot_masked': {'ratios': (0.3,), 'draws': 1}, 'mask_similarity': {'ratios': (0.15, 0.75)},
             'collapse': {}, 'logistic': {'l2': (0.1,), 'folds': 0}}


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  """A run whose student and teacher differ."""
  folder = tmp_path_factory.mktemp('run')
  store(shrink(msn_digits.get_config()), folder)
  return folder


def run(protocol: str, folder: Path, code: int = 0, **fields) -> None:
  given = [f'--config.{name}={value}' for name, value in (SMALL | fields).items()]
  assert evaluate.main(['', protocol, f'--workdir={folder}', *given]) == code


def last(folder: Path) -> dict:
  return json.loads((folder / 'evaluations.jsonl').read_text().splitlines()[-1])


def evaluator(folder: Path, **changes) -> Evaluator:
  encoding = {'network': 'ema', 'pooling': 'class_token', 'layers': 1, 'size': 0, 'batch_size': 120} | changes
  found, _ = stored.pretrained('', folder, encoding['network'])
  data = Data(**load_config(folder)['data'])
  encoder = StoredEncoder(what='', pretrained=found, encoding=Encoding(**encoding), dtype=np.float32)
  return Evaluator.stored(folder, encoder, data, seed=0, load_objective=None)


def test_every_protocol_on_its_defaults_and_once_more_from_the_cache(workdir, capsys, monkeypatch):
  first = {}
  for protocol, options in PROTOCOLS.items():
    run(protocol, workdir, **{f'{protocol}.{name}': value for name, value in options.items()})
    first[protocol] = last(workdir)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(first[protocol]['figures']) > 0
    for line, figure in zip(printed, first[protocol]['figures'], strict=True):
      assert line.startswith(figure['name']) and cell(figure['value'], None, figure['unit'], 2) in line
      assert 0 < figure['value'] <= (1 if figure['unit'] else 16)
  monkeypatch.setattr(features, 'extract', None)
  for protocol, options in PROTOCOLS.items():
    run(protocol, workdir, **{f'{protocol}.{name}': value for name, value in options.items()})
    again = last(workdir)
    changing = 'time', 'seconds', 'run'
    assert {name: value for name, value in again.items() if name not in changing} == {
      name: value for name, value in first[protocol].items() if name not in changing}


def test_a_record_says_all_that_it_takes_to_repeat_it(workdir):
  run('knn', workdir, **{'knn.neighbours': (3,), 'encoding.network': 'online', 'encoding.pooling': 'average',
                         'encoding.layers': 2, 'encoding.size': 8, 'seed': 4})
  found = last(workdir)
  assert found['protocol'] == 'knn' and found['seed'] == 4
  assert (found['stage'], found['step'], found['features']) == ('later', 7, 'trained')
  assert found['settings'] == {'neighbours': [3], 'temperature': 0.07}
  assert found['encoding'] == {
    'network': 'online', 'pooling': 'average', 'layers': 2, 'size': 8, 'batch_size': 120, 'final_norm': True,
    'dtype': 'float32',
    'crop_fraction': 1.0, 'filter': 'bilinear', 'mean': [0.3] * 3, 'std': [0.38] * 3, 'squash': False,
    'high_pass_sigma': 0.0}
  assert found['encoder'].items() >= {'kind': 'vit', 'step': 7, 'network': 'online', 'method': 'msn'}.items()
  assert found['encoder']['class_names'] == list('0123456789')
  assert found['data']['source'] == 'digits' and found['data']['images'] == {'digits:test:359': 359,
                                                                             'digits:train:1438': 1438}
  assert found['run'].keys() >= {'revision', 'versions', 'devices', 'command'}


def test_features_are_those_of_the_encoder_asked_for(workdir):
  """EMA and online, masked by each image's own key, the same whatever the batch."""
  found = {network: evaluator(workdir, network=network) for network in ('ema', 'online')}
  source = features.sample(found['ema'].eval, 24)
  images = np.stack([np.pad(source[i].image[..., None].repeat(3, -1), ((0, 0), (0, 0), (0, 0))) for i in range(24)])
  views = eval_views(images, np.full((24, 2), 8), size=16, crop_fraction=1.0, mean=(0.3,) * 3, std=(0.38,) * 3)
  keys = rng.per_example(rng.stream(0, 'masks'), np.arange(24, dtype=np.uint32))
  for one in found.values():
    encoder = module('vit', one.encoder.pretrained.config)
    for ratio in (0.0, 0.7):
      keep = (random_keep(keys, 16, 4),) if ratio else ()
      expected = encoder.apply(variables(one.encoder.pretrained.arrays), views, *keep)['cls']
      np.testing.assert_allclose(one.features(source, ratio).features, expected, atol=1e-4)
  encoder = found['ema'].encoder
  arrays = {name: value + 0.1 for name, value in encoder.pretrained.arrays.items()}
  encoder = dataclasses.replace(encoder, pretrained=dataclasses.replace(encoder.pretrained, arrays=arrays))
  later = dataclasses.replace(found['ema'], encoder=encoder)
  assert np.abs(found['ema'].features(source).features - later.features(source).features).max() > 1e-3
  assert np.abs(found['ema'].features(source).features - found['online'].features(source).features).max() > 1e-3


def test_what_is_changed_of_the_data_of_a_run_counts(workdir):
  run('knn', workdir, **{'data.canvas': 12, 'data.threads': 2, 'knn.neighbours': (1,)})
  assert last(workdir)['data'].items() >= {'source': 'digits', 'eval_split': 'test', 'canvas': 12, 'threads': 2}.items()


def test_what_cannot_be_written_is_told_in_one_line(workdir, capsys, monkeypatch):
  def full(*args, **kwargs):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr('maskrep.evaluation.result.append_json', full)
  run('knn', workdir, 4, **{'knn.neighbours': (1,)})
  assert 'cannot be written any more ([Errno 28]' in capsys.readouterr().err


@pytest.mark.parametrize(('protocol', 'fields', 'said'), [
  ('knn', {'data.eval_split': 'train'}, 'is the training split too'),
  ('knn', {'knn.neighbours': (2000,)}, 'config.knn.neighbours=(2000,): must be at most the 1438'),
  ('knn', {'knn.temperature': 0.0}, 'config.knn.temperature=0.0: must be above 0'),
  ('knn', {'encoding.network': 'teacher'}, "config.encoding.network='teacher': must be one of ema, online"),
  ('knn', {'encoding.pooling': 'max'}, "config.encoding.pooling='max': must be one of"),
  ('knn', {'encoding.layers': 3}, 'config.encoding.layers=3: this encoder, a vit, has 2 to give'),
  ('knn', {'encoding.size': 15}, 'config.encoding.size=15: must be a multiple of the patches of 4'),
  ('knn', {'data.eval_split': '', 'data.source': 'digits'}, "config.data.eval_split='': an encoder is judged"),
  ('mask_similarity', {'mask_similarity.ratios': (0.99,)}, 'ratio=0.99: masking ratio 0.99 keeps none'),
  ('lowshot', {'lowshot.drawn': 3}, '--config has no field drawn'), ('robustness', {}, 'trained no classifier')])
def test_what_cannot_be_is_said_in_one_line(workdir, protocol, fields, said, capsys):
  run(protocol, workdir, 2, **fields)
  err = capsys.readouterr().err
  assert said in err and err.count('\n') == 1


def test_commands_that_are_none(workdir, capsys):
  for argv, said in ((['kn'], 'kn: must be one of'), (['knn'], '--workdir: is needed'),
                     (['knn', f'--workdir={workdir}', '--config=configs/evaluation/lowshot.py'], 'and not knn')):
    assert evaluate.main(['', *argv]) == 2
    assert said in capsys.readouterr().err


def test_imports_need_data_and_have_one_network(tmp_path, capsys):
  native.save(tmp_path, pretrained('vit', VIT))
  run('knn', tmp_path, 2)
  assert "config.data.source='': means the data of a run" in capsys.readouterr().err
  run('knn', tmp_path, 2, **{'encoding.network': 'online'})
  assert 'holds an import, which is one network' in capsys.readouterr().err
  digits = {'data.source': 'digits', 'data.eval_split': 'test', 'data.canvas': 8, 'encoding.size': 12}
  run('knn', tmp_path, **digits, **{'knn.neighbours': (1,)})
  assert last(tmp_path)['figures'][0]['value'] > 0.5


def test_a_convnet_has_no_patches_to_leave_out(tmp_path, capsys):
  native.save(tmp_path, pretrained('resnet', {'depth': 18, 'width': 1 / 16, 'stem': 'small'}))
  run('mask_similarity', tmp_path, 2, **{'data.source': 'digits', 'data.eval_split': 'test', 'data.canvas': 8})
  assert 'a resnet sees all pixels' in capsys.readouterr().err


def test_a_probe_is_trained_and_its_run_is_used_again(workdir, capsys):
  """Of two learning rates, one to no effect; asked again, the finished runs only say what they found."""
  given = ['', 'linear', f'--workdir={workdir}', '--config.batch_size=120', '--config.train.epochs=6',
           '--config.learning_rates=(1.0, 0.0)', '--config.eval.batch_size=120', '--config.eval.max_train_examples=200']
  assert evaluate.main(given) == 0
  first = last(workdir)
  assert [figure['name'] for figure in first['figures']] == [
    'top-1, learning rate 1', 'top-1, learning rate 0', 'best top-1, learning rate 1']
  learnt, chance, best = (figure['value'] for figure in first['figures'])
  assert learnt == best > 0.3 > chance
  runs = {path: path.read_text() for path in workdir.glob('evaluations/linear-*/metrics.jsonl')}
  assert {figure['note'].partition(';')[0] for figure in first['figures']} == {
    str(path.parent.relative_to(workdir)) for path in runs} and len(runs) == 2
  assert evaluate.main(given) == 0
  assert last(workdir)['figures'] == first['figures']
  assert runs == {path: path.read_text() for path in runs}
  assert first['encoder'] == last(workdir)['encoder'] and first['settings']['learning_rates'] == [1.0, 0.0]
  # What it left is a run with a classifier, which has no ImageNet to be judged on.
  folder = workdir / first['figures'][0]['note']
  run('robustness', folder, 2)
  assert 'its classifier has 10 classes' in capsys.readouterr().err
  run('knn', folder, **{'knn.neighbours': (5,)})

"""What the configs of protocols that train are completed with, and which of their runs are one and the same."""

import dataclasses
from pathlib import Path

from ml_collections import ConfigDict
import pytest

from maskrep.configs import mim_finetune_in1k, msn_digits
from maskrep.configs.evaluation import finetune, finetune_extrema_semi, finetune_msn, linear, segmentation
from maskrep.errors import ConfigError, NonFiniteError
from maskrep.experiment import probe
from maskrep.models.encoder import Preprocessing
from maskrep.weights.pretrained import Pretrained
from tests.support.tiny import ENCODERS, VIT

pytestmark = pytest.mark.quick

DIGITS = dict(source='digits', train_split='train', eval_split='test', download=False, canvas=8, threads=1,
              max_broken_fraction=0.0, stall_timeout_s=60)
ENCODER = Pretrained(
  kind='vit', config=VIT | {'patch_size': 4, 'width': 48, 'depth': 3, 'heads': 3, 'image_size': 12}, arrays={},
  preprocessing=Preprocessing(size=12, crop_fraction=0.9, mean=(0.1,) * 3, std=(0.2,) * 3, high_pass_sigma=3.0),
  source={})


def completed(module, encoder=ENCODER, data=DIGITS, **changes):
  config = module.get_config()
  for field, value in changes.items():
    config.update_from_flattened_dict({field: value})
  return probe.experiments(config.to_dict(), Path('runs/x'), encoder, data)


def config_of(module, *arguments, **changes) -> ConfigDict:
  experiment, = completed(module, *arguments, **changes)
  return ConfigDict(experiment.config)


def test_what_follows_from_the_encoder_and_its_data_is_filled_in():
  config = config_of(linear)
  assert config.train.init_from == str(Path('runs/x').resolve())
  assert (config.views.size, config.views.mean, config.views.std) == (12, (0.1,) * 3, (0.2,) * 3)
  assert (config.eval.crop_fraction, config.views.high_pass_sigma, config.regularisation.num_classes) == (0.9, 3.0, 10)
  assert config.encoder.kind == 'vit' and config.data.to_dict() == DIGITS
  assert config.encoder.to_dict() == {'kind': 'vit'} | {
    name: ENCODER.config[name] for name in VIT if name != 'image_size'}
  assert 'protocol' not in config and 'learning_rates' not in config


def test_what_is_said_stays():
  config = config_of(finetune_msn, **{'eval.crop_fraction': 0.5, 'views.mean': (0.3,) * 3, 'views.size': 16})
  assert (config.eval.crop_fraction, config.views.mean, config.views.size) == (0.5, (0.3,) * 3, 16)
  assert config.encoder.drop_path == 0.2


def test_fields_of_transformers_are_left_out_of_a_convnet():
  resnet = dataclasses.replace(ENCODER, kind='resnet', config={'depth': 18, 'width': 1.0, 'stem': 'small'})
  config = config_of(finetune, resnet)
  assert config.encoder.to_dict() == {'kind': 'resnet'} | resnet.config


def test_masked_image_modelling_beside_fine_tuning():
  config = config_of(mim_finetune_in1k, **{
    'objective.mim_weight': 0.0, 'objective.carry_decoder': False, 'target.size': 896})
  assert config.method == 'mim' and config.encoder.width == 48 and config.regularisation.num_classes == 1000


def test_the_same_run_is_found_again_and_no_other():
  def named(digest='a', **changes):
    return probe.identity(completed(linear, **changes)[0].config, digest)

  assert named() == named(**{'data.threads': 9}) == named(**{'train.log_every_steps': 7, 'eval.batch_size': 8})
  moved, = probe.experiments(linear.get_config().to_dict(), Path('runs/y'), ENCODER, DIGITS)
  assert probe.identity(moved.config, 'a') == named()
  others = [named('b'), named(**{'seed': 1}), named(**{'eval.crop_fraction': 0.8}), named(**{'optim.beta1': 0.8})]
  assert len({named(), *others}) == 5


def test_a_learning_rate_that_diverges_is_left_out(monkeypatch, tmp_path):
  def run(config, into, allowed_changes, with_verdict):
    assert not with_verdict
    if config.optim.learning_rate > 1:
      raise NonFiniteError('diverged')
    into.mkdir(parents=True)
    (into / 'metrics.jsonl').write_text(f'{{"step": 3, "eval/accuracy": {config.optim.learning_rate}}}\n')

  monkeypatch.setattr(probe, 'run', run)
  found = probe.train('linear', completed(linear, learning_rates=(2.0, 0.5, 0.25)), tmp_path, 'a')
  assert [(figure.name, figure.value) for figure in found] == [
    ('top-1, learning rate 0.5', 0.5), ('top-1, learning rate 0.25', 0.25), ('best top-1, learning rate 0.5', 0.5)]
  assert found[-1].note.endswith('chosen on this split; not finite: 2')
  with pytest.raises(NonFiniteError):
    probe.train('linear', completed(linear, learning_rates=(2.0, 3.0)), tmp_path, 'a')


def test_each_rate_is_tried_with_each_seed(monkeypatch, tmp_path):
  def run(config, into, allowed_changes, with_verdict):
    into.mkdir(parents=True)
    value = config.optim.learning_rate + config.seed / 10
    (into / 'metrics.jsonl').write_text(f'{{"step": 3, "eval/accuracy": {value}}}\n')

  monkeypatch.setattr(probe, 'run', run)
  found = probe.train('linear', completed(linear, learning_rates=(0.5, 0.25), seeds=(0, 3)), tmp_path, 'a')
  assert [(figure.name, figure.value) for figure in found] == [
    ('top-1, learning rate 0.5, seed 0', 0.5), ('top-1, learning rate 0.5, seed 3', 0.8),
    ('top-1, learning rate 0.25, seed 0', 0.25), ('top-1, learning rate 0.25, seed 3', 0.55),
    ('best top-1, learning rate 0.5, seed 3', 0.8)]


def test_each_list_is_a_run_and_the_best_rate_has_the_best_mean(monkeypatch, tmp_path):
  """Not the best of the lists; a rate that diverges on one of them has no mean."""
  for name in ('a1.txt', 'a2.txt', 'b.txt'):
    (tmp_path / name).touch()

  def run(config, into, allowed_changes, with_verdict):
    path, rate = Path(config.data.list), config.optim.learning_rate
    if rate > 1 and path.name == 'b.txt':
      raise NonFiniteError('diverged')
    into.mkdir(parents=True)
    value = {('a1.txt', 0.5): 0.9, ('a2.txt', 0.5): 0.1, ('b.txt', 0.5): 0.2}.get((path.name, rate), 0.5)
    (into / 'metrics.jsonl').write_text(f'{{"step": 3, "eval/accuracy": {value}}}\n')

  monkeypatch.setattr(probe, 'run', run)
  runs = completed(linear, lists=(f'{tmp_path}/a*.txt', f'{tmp_path}/b.txt'), learning_rates=(0.5, 0.25, 2.0))
  assert [Path(each.data.list).name for each in runs] == ['a1.txt'] * 3 + ['a2.txt'] * 3 + ['b.txt'] * 3
  found = probe.train('linear', runs, tmp_path, 'a')
  assert len(found) == 8 + 2 + 1
  assert found[0].name == f'top-1, list {tmp_path}/a1.txt, learning rate 0.5'
  first, second, best = found[-3:]
  assert (first.name, first.value, first.each) == (
    'mean top-1 of 3 lists, learning rate 0.5', pytest.approx(0.4), (0.9, 0.1, 0.2))
  assert (second.value, second.std) == (0.5, 0) and best.value == 0.5
  assert best.name == 'best mean top-1 of 3 lists, learning rate 0.25' and best.note.endswith('not finite: 2')


def test_the_projector_is_that_of_the_run():
  cait = dataclasses.replace(ENCODER, kind='cait', config=ENCODERS['cait'], source={
    'config': {'projector': {'hidden': 24, 'output': 8, 'layers': 2}}})
  classify = completed(finetune_extrema_semi, cait)[0].objective
  assert (classify.projector.hidden, classify.carried, classify.pooling) == (24, ('projector',), 'class_token')
  assert completed(finetune_extrema_semi, dataclasses.replace(cait, source={}))[0].objective.projector.hidden == 4096


@pytest.mark.parametrize(('module', 'encoder', 'data', 'said'), [
  (linear, {}, {'eval_split': ''}, 'an encoder is evaluated on a split of its own'),
  (linear, {'preprocessing': None}, {}, 'does not say how images are prepared'),
  (linear, {'preprocessing': dataclasses.replace(ENCODER.preprocessing, filter='bicubic')}, {}, "the filter 'bicubic'"),
  (linear, {'kind': 'vqgan'}, {}, 'holds a tokenizer'),
  (msn_digits, {}, {}, "config.method='msn': must be a method that classifies or segments"),
  (segmentation, {'kind': 'resnet', 'config': {'depth': 18, 'width': 1.0, 'stem': 'small'}}, {}, 'encoder.kind')])
def test_what_cannot_be_trained(module, encoder, data, said):
  with pytest.raises(ConfigError, match=said):
    completed(module, dataclasses.replace(ENCODER, **encoder), DIGITS | data)

"""The search for options that fit, on machines whose memory is a made-up function of the options."""

import types

import jax
import pytest

from maskrep.configs import mscn_digits, msn_vitb16
from maskrep.errors import ConfigError
from maskrep.experiment.fit import fit, with_microbatch

pytestmark = pytest.mark.quick


def search(config, memory, devices=8):
  """Options found for a memory in which each image of a microbatch takes 1, with remat 1/2, the state 400 / fsdp."""
  tried = []

  def fits(config):
    images = (config.train.microbatch or config.batch_size) / (2 if config.encoder.get('remat') else 1)
    tried.append(config.train.microbatch)
    return images + 400 / config.train.fsdp <= memory

  return fit(config, devices, fits)[1], tried


@pytest.mark.parametrize(('memory', 'found'), [
  (1424, {}), (1423, {'train.microbatch': 512}), (600, {'train.microbatch': 128}), (464, {'train.microbatch': 64}),
  (463, {'train.microbatch': 64, 'encoder.remat': True, 'encoder.scan': True}),
  (300, {'train.microbatch': 128, 'encoder.remat': True, 'encoder.scan': True, 'train.fsdp': 2})])
def test_the_cheapest_options_that_fit(memory, found):
  assert search(msn_vitb16.get_config(), memory)[0] == found


def test_a_resnet_recomputes_nothing_and_what_fits_nowhere_is_refused():
  config = mscn_digits.get_config()
  config.batch_size = 1024
  assert search(config, 300)[0] == {'train.microbatch': 64, 'train.fsdp': 2}
  with pytest.raises(ConfigError, match='batch_size=1024: does not fit, whatever'):
    search(config, 10)


def test_few_programs_are_compiled():
  config = msn_vitb16.get_config()
  config.batch_size = 2**14
  found, tried = search(config, 464 + 2**10)
  assert found == {'train.microbatch': 2**10} and len(tried) <= 6


@pytest.fixture
def devices(monkeypatch):
  """A device of 1000 bytes, of which an image of a microbatch takes 20."""
  device = types.SimpleNamespace(memory_stats=lambda: {'bytes_limit': 1000})
  monkeypatch.setattr(jax, 'local_devices', lambda: [device])
  monkeypatch.setattr('maskrep.experiment.fit.step_fits', lambda config, devices, memory: (
    20 * (config.train.microbatch or config.batch_size) <= memory))


def test_a_microbatch_of_minus_1_is_the_largest_that_fits(devices):
  config = msn_vitb16.get_config()
  assert with_microbatch(config) is config
  config.train.microbatch = -1
  config.batch_size = 64
  assert with_microbatch(config).train.microbatch == 32 and config.train.microbatch == -1
  config.batch_size = 32
  assert with_microbatch(config).train.microbatch == 0
  config.batch_size = 102
  with pytest.raises(ConfigError, match='batch_size=102: does not fit, whatever train.microbatch'):
    with_microbatch(config)


def test_where_it_cannot_be_searched(devices, monkeypatch):
  config = mscn_digits.get_config()
  config.train.microbatch = -1
  with pytest.raises(ConfigError, match='microbatch=-1: must be a number here, as microbatches change'):
    with_microbatch(config)
  config = msn_vitb16.get_config()
  config.train.microbatch = -1
  monkeypatch.setattr(jax, 'local_devices', lambda: [types.SimpleNamespace(memory_stats=lambda: None)])
  with pytest.raises(ConfigError, match='microbatch=-1: must be a number here, as these devices do not report'):
    with_microbatch(config)

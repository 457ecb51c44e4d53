"""The number of devices is not in the mathematics. Collected by test_elastic.py, in a process with eight devices."""

import dataclasses
import functools
import json
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import optax
import pytest

from maskrep.configs import extrema_digits, mim_digits, mscn_digits, msn_digits, vqgan_digits
from maskrep.devices.mesh import global_batch, make_mesh
from maskrep.experiment.opened import OpenExperiment
from maskrep.train.collectives import collectives
from maskrep.train.optim import Optim
from maskrep.train.program import Program
from maskrep.workdir.checkpoint import Checkpoints
from tests.support.stored import opened
from tests.support.tiny import shrink

STEPS = {'msn': 20, 'extrema': 20, 'mim': 6, 'mscn': 6, 'vqgan': 6}
LOSSES = Path(__file__).parent.parent / 'support' / 'losses.json'
# devices, fsdp, microbatch
ONE, TWO, FOUR, EIGHT, SPLIT = (1, 1, 0), (2, 1, 0), (4, 1, 8), (8, 1, 0), (8, 2, 0)
METHODS = {'msn': msn_digits, 'extrema': extrema_digits, 'mim': mim_digits, 'mscn': mscn_digits, 'vqgan': vqgan_digits}
# One layout of many devices, with microbatches, is enough for the other methods: what moves the data is the same.
CASES = [pytest.param('msn', TWO, id='msn on two'), pytest.param('msn', FOUR, id='msn on four'),
         pytest.param('msn', EIGHT, id='msn unsplit'), pytest.param('msn', SPLIT, id='msn split'),
         *(pytest.param(method, FOUR, id=method) for method in METHODS if method != 'msn')]


class SGD(Optim):
  """Adam would turn round-off in a gradient that is nearly 0 into a full update, and large steps are chaotic."""

  def optimizer(self, run_schedules, rules):
    return optax.sgd(0.001)


def opened_of(method: str, microbatch: int) -> OpenExperiment:
  config = shrink(METHODS[method].get_config())
  config.batch_size = 16
  if method == 'mscn':
    # Else gradients of norm 90 make these steps chaotic; on equal states the losses of a step agree to 1e-6.
    config.encoder.zero_init_residual = True
    config.objective.temperature = 1.0
  elif 'encoder' in config:
    config.encoder.update(drop_path=0.1, width=32)
  if method == 'mim':
    config.encoder.dropout = 0.1
    config.regularisation.update(mixup_alpha=0.5, cutmix_alpha=1.0)
  if method == 'msn':
    config.head.update(hidden=64)
    config.objective.update(target_temperature=0.2, temperature=0.2)  # 0.025 would multiply round-off by 40
  config.train.microbatch = microbatch
  with mock.patch('maskrep.experiment.opened.load_tokenizer', random_weights):
    return opened(config)


def random_weights(what, path, tokenizer, wanted):
  random = np.random.default_rng(0)
  return jax.tree.map(lambda leaf: random.normal(0, 0.3, leaf.shape).astype(leaf.dtype), wanted)


@functools.cache
def made(method: str, layout: tuple[int, int, int]) -> tuple[OpenExperiment, Program, jax.stages.Compiled]:
  devices, fsdp, microbatch = layout
  found = opened_of(method, microbatch)
  mesh = make_mesh(fsdp, jax.devices()[:devices])
  optim, train = SGD(**vars(found.experiment.optim)), dataclasses.replace(found.experiment.train, epochs=1.0)
  experiment = dataclasses.replace(found.experiment, optim=optim, train=train)
  program = experiment.program(20 * 16, mesh)
  return found, program, program.lower(experiment.data.canvas).compile()


def batch_of(found: OpenExperiment, program: Program, step: int):
  local = found.loader[step]
  del local['broken']
  return global_batch(program.mesh, local)


def train(method: str, layout: tuple[int, int, int], state, stop: int):
  """Returns the state after `stop` steps in all, and the losses on the way."""
  found, program, step_fn = made(method, layout)
  losses = []
  for step in range(int(state.step), stop):
    state, metrics = step_fn(state, batch_of(found, program, step), found.frozen)
    losses.append(float(metrics['loss']))
  return state, losses


@functools.cache
def straight(method: str) -> list[float]:
  """The losses of one device; for MSCN in the same microbatches, which the batch norm of its trunk sees."""
  layout = (1, 1, 8) if method == 'mscn' else ONE
  return train(method, layout, made(method, layout)[1].init(), STEPS[method])[1]


@pytest.mark.parametrize('method', METHODS)
def test_losses_are_those_on_file(method):
  """A change of these numbers is a change of what is trained: to be made on purpose, and said in the commit."""
  found = straight(method)
  assert found == pytest.approx(json.loads(LOSSES.read_text())[method], rel=1e-5), json.dumps(found)


@pytest.mark.parametrize(('method', 'layout'), CASES)
def test_losses_are_those_of_one_device(method, layout):
  state, losses = train(method, layout, made(method, layout)[1].init(), STEPS[method])
  np.testing.assert_allclose(losses, straight(method), rtol=1e-5)
  if layout[1] > 1:
    kernel = state.ema_params['encoder']['block0']['mlp']['fc1']['kernel']
    assert kernel.addressable_shards[0].data.size * layout[1] == kernel.size


def test_views_and_masks_are_those_of_one_device():
  drawn = []
  for layout in (ONE, SPLIT):
    found, program, _ = made('msn', layout)
    views = jax.jit(found.experiment.objective.views)(jax.random.key(0), batch_of(found, program, 3))
    drawn.append(jax.tree.map(np.asarray, views))
  np.testing.assert_array_equal(drawn[0]['keep_idx'], drawn[1]['keep_idx'])
  for name in ('target', 'anchor', 'focal'):
    np.testing.assert_allclose(drawn[0][name], drawn[1][name], atol=1e-5)


def test_a_run_goes_on_on_other_devices(tmp_path):
  """8, split by twos -> 4, in microbatches -> 1 -> 8: restored bit for bit, with the losses of a run that stayed."""
  found, before = [], None
  for layout, stop in ((SPLIT, 5), (FOUR, 10), (ONE, 15), (SPLIT, STEPS['msn'])):
    program = made('msn', layout)[1]
    with Checkpoints(tmp_path, 1) as checkpoints:
      state = checkpoints.restore(program.state) or program.init()
      if before is not None:
        jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.asarray, state))
        assert all(a.sharding.is_equivalent_to(b.sharding, a.ndim) for a, b in zip(
          jax.tree.leaves(state), jax.tree.leaves(program.state), strict=True))
      state, losses = train('msn', layout, state, stop)
      found += losses
      before = jax.tree.map(np.asarray, state)
      checkpoints.save(state, stop)
  np.testing.assert_allclose(found, straight('msn'), rtol=1e-5)


@pytest.mark.parametrize('method', METHODS)
def test_microbatches_move_no_image_between_devices(method):
  step_fn = made(method, FOUR)[2]
  sent = collectives(step_fn.as_text())
  inside = [one for one in sent if one.times > 1]
  assert {one.kind for one in inside} == {'all-reduce'}, 'only gradients are sent from within the loop'
  gathered = [one for one in sent if one.kind != 'all-reduce']
  # Two images of 16 x 16 would be 6144; mixing sends one, the first of each device, to its neighbour.
  assert all(one.bytes <= 4096 for one in gathered), gathered
  assert not any(len(shape) > 3 and shape[0] > 1 for one in gathered for shape in one.shapes)

"""The MSCN objective: its losses in float64, where gradients flow, what the branches share, ghost batch norm."""

import dataclasses
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskrep.augment.highpass import high_pass
from maskrep.configs import mscn_digits
from maskrep.experiment.experiment import Experiment
from maskrep.masking.pixels import PixelMask
from maskrep.methods.mscn import MSCN, BranchView
from maskrep.models.encoder import Preprocessing
from maskrep.models.heads import SiameseHead
from maskrep.models.norm import BatchNorm
from tests.support.tiny import shrink


class Tiny(nn.Module):
  """As much of a ResNet as the objective knows of one."""

  @nn.compact
  def __call__(self, images, *, train: bool = False):
    x = nn.relu(BatchNorm(name='bn')(nn.Conv(32, (3, 3), 8, use_bias=False, name='conv')(images), train=train))
    x = x.reshape(len(x), -1, 32)
    return {'cls': x.mean(1), 'patches': x}


SHOWN = PixelMask(cell=4, ratio=0.0, focal=0.0, focal_area=(0.2, 0.6), channelwise=0.0, noise_std=0.0)
MASK = PixelMask(cell=4, ratio=0.15, focal=0.2, focal_area=(0.2, 0.6), channelwise=0.7, noise_std=0.5)
VIEW = BranchView(
  size=16, crop_scale=(0.3, 1.0), flip=0.5, jitter=0.8, jitter_strength=(0.4, 0.4, 0.2, 0.1), grey=0.2, blur=0.0,
  solarise=0.0, mean=(0.5,) * 3, std=(0.2,) * 3, high_pass_sigma=1.5)
INFONCE = MSCN(
  encoder=Tiny(), projector=SiameseHead(12, 7, 3, norm_output=True), predictor=None, view=VIEW,
  preprocessing=Preprocessing.of(VIEW, 1.0, 1.5), first_mask=MASK, second_mask=dataclasses.replace(MASK, noise_std=0.0),
  num_masks=3, loss_kind='infonce', temperature=0.2, microbatch=0)
BYOL = dataclasses.replace(INFONCE, projector=SiameseHead(12, 7), predictor=SiameseHead(13, 7), loss_kind='byol')
BOTH = pytest.mark.parametrize('mscn', [INFONCE, BYOL], ids=lambda mscn: mscn.loss_kind)

INITIAL = {'bn': {'mean': np.zeros(32, np.float32), 'var': np.ones(32, np.float32)}}  # of the encoder


@pytest.fixture(scope='module')
def drawn(batch):
  """An objective -> its views of the batch, weights, other weights for the teacher, statistics."""

  @functools.cache
  def draw(mscn):
    init = jax.jit(mscn.init)
    (params, model_state), (teacher, _) = init(jax.random.key(0)), init(jax.random.key(1))
    return jax.jit(mscn.views)(jax.random.key(2), batch), params, teacher, model_state

  return draw


def loss_of(mscn, params, views, teacher, model_state):
  return mscn.loss(params, views, key=jax.random.key(3), step=0, ema_params=teacher, model_state=model_state,
                   frozen=None)


@jax.jit
def features_of(params, images):
  out, moved = INFONCE.encoder.apply(
    {'params': params['encoder'], 'batch_stats': INITIAL}, images, train=True, mutable=['batch_stats'])
  return out['cls'], moved['batch_stats']


def head64(p, x):
  """A SiameseHead in training, re-stated: what it makes of x, and its running statistics after this batch."""
  stats = {}
  for i in range(1, len(p) + 1):
    if f'fc{i}' in p:
      x = x @ np.asarray(p[f'fc{i}']['kernel'], np.float64) + np.asarray(p[f'fc{i}'].get('bias', 0), np.float64)
    if f'bn{i}' in p:
      scale, bias = np.asarray(p[f'bn{i}']['scale']), np.asarray(p[f'bn{i}']['bias'])
      stats[f'bn{i}'] = {'mean': 0.1 * x.mean(0), 'var': 0.9 + 0.1 * x.var(0, ddof=1)}
      x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) * scale + bias
    if f'fc{i + 1}' in p:
      x = np.maximum(x, 0)
  return x, stats


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


@BOTH
@pytest.mark.parametrize('microbatch', [0, 2])
def test_loss_is_the_papers_in_float64(mscn, microbatch, drawn):
  views, params, teacher, model_state = drawn(mscn)
  assert views['first'].shape == (6, 3, 16, 16, 3) and views['second'].shape == (6, 16, 16, 3)
  mscn = dataclasses.replace(mscn, microbatch=microbatch)
  loss, aux = jax.jit(lambda p: loss_of(mscn, p, views, teacher, model_state))(params)

  def embed(p, images):  # [6, M, 16, 16, 3] -> [6 * M, E]
    parts = 3 if microbatch else 1
    features, stats = np.zeros((*images.shape[:2], 32)), []
    for m in range(parts):
      found, moved = features_of(p, np.asarray(images)[m::parts].reshape(-1, *images.shape[2:]))
      features[m::parts] = np.asarray(found, np.float64).reshape(-1, images.shape[1], 32)
      stats.append(moved)
    embedded, projector = head64(p['projector'], features.reshape(-1, 32))
    return embedded, {'encoder': jax.tree.map(lambda *s: np.mean(s, axis=0), *stats), 'projector': projector}

  byol = mscn.loss_kind == 'byol'
  first, first_stats = embed(params, views['first'])
  second, second_stats = embed(teacher if byol else params, views['second'][:, None])
  if byol:
    predicted, first_stats['predictor'] = head64(params['predictor'], first)
    predicted = unit(predicted).reshape(6, 3, -1)
    expected = ((predicted - unit(second)[:, None]) ** 2).sum(-1).mean()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
                 aux.model_state, {'student': first_stats, 'teacher': second_stats})
  else:
    expected = []
    for i in range(3):
      z = unit(np.concatenate([first.reshape(6, 3, -1)[:, i], second]))
      similarity = np.exp(z @ z.T / 0.2)
      own = similarity[np.arange(12), (np.arange(12) + 6) % 12]
      expected.append(-np.log(own / (similarity.sum(1) - np.diag(similarity))))
    # One network saw both branches, the first before the second.
    initial = model_state['student']
    expected_stats = jax.tree.map(lambda r, a, b: 0.9 * a + b - 0.9 * r, initial, first_stats, second_stats)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
                 aux.model_state, {'student': expected_stats})
  np.testing.assert_allclose(loss, np.mean(expected), rtol=1e-4)
  assert jax.tree.structure(aux.model_state) == jax.tree.structure(model_state)


@BOTH
@pytest.mark.parametrize('microbatch', [0, 2])
def test_gradient_reaches_every_parameter_and_never_the_teacher(mscn, microbatch, drawn):
  views, params, teacher, model_state = drawn(mscn)
  mscn = dataclasses.replace(mscn, microbatch=microbatch)
  grads, teacher_grads = jax.jit(jax.grad(
    lambda p, t: loss_of(mscn, p, views, t, model_state)[0], argnums=(0, 1)))(params, teacher)
  small = [jax.tree_util.keystr(path) for path, g in jax.tree_util.tree_leaves_with_path(grads)
           if not np.abs(g).max() > 1e-6]
  # The predictor's first norm takes away the mean of what it is given.
  expected = ["['projector']['fc2']['bias']"] * (mscn.loss_kind == 'byol')
  assert small == expected
  assert all((np.asarray(g) == 0).all() for g in jax.tree.leaves(teacher_grads))


def test_both_branches_of_infonce_are_trained(drawn):
  views, params, teacher, model_state = drawn(INFONCE)
  pixel = jax.jit(jax.grad(lambda v: loss_of(INFONCE, params, v, teacher, model_state)[0]))(views)
  assert all((np.abs(g).max((-3, -2, -1)) > 1e-9).all() for g in pixel.values())


def test_what_the_branches_see(batch):
  plain = dataclasses.replace(MASK, ratio=0.0, focal=0.0)
  mscn = dataclasses.replace(INFONCE, first_mask=plain, second_mask=plain)
  views = {name: np.asarray(v) for name, v in jax.jit(mscn.views)(jax.random.key(2), batch).items()}
  assert (np.abs(views['first'][:, 0] - views['second']).max((1, 2, 3)) > 0.1).all()  # crops are drawn apart
  np.testing.assert_array_equal(views['first'][:, 0], views['first'][:, 1])
  masked = {name: np.asarray(v) for name, v in jax.jit(INFONCE.views)(jax.random.key(2), batch).items()}
  hidden = masked['first'] != views['first']
  assert (hidden.mean((2, 3, 4)) > 0.1).all() and (hidden[:, 0] != hidden[:, 1]).any((1, 2, 3)).all()
  assert np.std(masked['first'][hidden]) == pytest.approx(0.5, rel=0.1)
  assert (masked['second'][masked['second'] != views['second']] == 0).all()


@pytest.mark.parametrize('shared', [pytest.param('nothing', marks=pytest.mark.slow), 'crop', 'view'])
def test_branches_share_their_crop_or_their_whole_view(shared, batch):
  """Bit for bit. Without colours the crop is all that there is; the masks stay apart."""
  plain = dataclasses.replace(VIEW, shared=shared, jitter=0.0, grey=0.0)
  for view, equal in ((plain, shared != 'nothing'), (dataclasses.replace(VIEW, shared=shared), shared == 'view')):
    mscn = dataclasses.replace(INFONCE, view=view, first_mask=SHOWN, second_mask=SHOWN)
    seen = jax.jit(mscn.views)(jax.random.key(2), batch)
    alike = [(a == b).all() for a, b in zip(seen['first'][:, 0], seen['second'], strict=True)]
    assert all(alike) if equal else not any(alike)
  masked = jax.jit(dataclasses.replace(INFONCE, view=view).views)(jax.random.key(2), batch)
  assert (masked['first'][:, 0] != masked['second']).any((1, 2, 3)).all()
  # The first branch does not depend on what the second shares with it.
  alone = jax.jit(INFONCE.views)(jax.random.key(2), batch)
  np.testing.assert_array_equal(masked['first'], alone['first'])


def test_an_example_s_views_depend_on_its_position_alone(batch):
  see = jax.jit(INFONCE.views)
  whole = see(jax.random.key(2), batch)
  order = np.array([4, 1, 0, 5, 3, 2])
  shuffled = see(jax.random.key(2), {name: a[order] for name, a in batch.items()})
  for name in whole:
    np.testing.assert_array_equal(shuffled[name], whole[name][order])


@BOTH
def test_evaluation_uses_the_statistics_of_its_weights(mscn, drawn):
  _, params, _, model_state = drawn(mscn)
  last = 'teacher' if mscn.loss_kind == 'byol' else 'student'
  moved = jax.tree.map(lambda x: x + 0.3, model_state[last]['encoder'])
  model_state = model_state | {last: model_state[last] | {'encoder': moved}}
  images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 16, 16, 3)), jnp.float32)
  want = jax.jit(mscn.encoder.apply)({'params': params['encoder'], 'batch_stats': moved}, images)
  got = jax.jit(mscn.encode)(params, model_state, images)
  np.testing.assert_allclose(got['cls'], want['cls'], atol=1e-5)
  assert got['patches'].shape == (2, 4, 32)
  with pytest.raises(ValueError, match='sees all pixels'):
    mscn.encode(params, model_state, images, jnp.zeros((2, 1), int))


def test_evaluation_filters_as_training_does(batch):
  plain, filtered = (
    jax.jit(Preprocessing.of(VIEW, 1.0, sigma))(batch['image'], batch['size']) for sigma in (0.0, 1.5))
  np.testing.assert_allclose(filtered, jax.jit(jax.vmap(lambda x: high_pass(x, 1.5)))(plain), atol=1e-5)
  config = shrink(mscn_digits.get_config())
  objective = Experiment.parse(config).objective
  assert objective.preprocessing.high_pass_sigma == objective.view.high_pass_sigma == config.views.high_pass_sigma > 0
  views = jax.jit(dataclasses.replace(INFONCE, first_mask=SHOWN, second_mask=SHOWN).views)(jax.random.key(2), batch)
  assert np.abs(views['second'].mean((1, 2))).max() < 0.1, 'a high-pass filter leaves next to no mean'


@pytest.mark.parametrize(('change', 'message'), [
  ({'loss_kind': 'byol'}, 'byol needs the section predictor'), ({'predictor': BYOL.predictor}, 'infonce has none'),
  ({'loss_kind': 'vicreg'}, 'must be one of byol, infonce'), ({'temperature': 0.0}, 'temperature=0.0'),
  ({'num_masks': 0}, 'num_masks=0')])
def test_refuses(change, message):
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(INFONCE, **change)

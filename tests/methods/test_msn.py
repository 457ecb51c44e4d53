"""The MSN objective: the paper's formulae in float64, where gradients flow, what the views and masks depend on."""

import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from maskrep.configs import msn_vitb16
from maskrep.errors import ConfigError
from maskrep.experiment.experiment import Experiment
from maskrep.methods import losses
from maskrep.methods.msn import MSN
from maskrep.models.heads import ProjectionHead
from maskrep.models.vit import patchify
from tests.support.tiny import shrink


class LinearEncoder(nn.Module):
  """The mean of linearly embedded patches: small enough to re-derive by hand."""

  patch_size: int = 4

  @nn.compact
  def __call__(self, images, keep_idx=None, noise=None):
    patches = patchify(images, self.patch_size)
    if keep_idx is not None:
      patches = jnp.take_along_axis(patches, keep_idx[..., None], axis=1)
    tokens = nn.Dense(6, name='embed')(patches)
    return {'cls': tokens.mean(1), 'patches': tokens}

  def draw_noise(self, key, batch):
    return None


@pytest.fixture(scope='module')
def msn() -> MSN:
  config = shrink(msn_vitb16.get_config())
  full = Experiment.parse(config).objective
  small = {name: dataclasses.replace(getattr(full, name), size=size) for name, size in
           (('target_view', 16), ('anchor_view', 16), ('focal_view', 8))}
  return dataclasses.replace(full, encoder=LinearEncoder(), head=ProjectionHead(hidden=10, output=5, layers=2),
                             num_prototypes=7, entropy_weight=0.3, **small)


@pytest.fixture(scope='module')
def drawn(msn, batch):
  """(views, params, other params as a teacher, model_state)"""
  init = jax.jit(msn.init)
  (params, model_state), (teacher, _) = init(jax.random.key(0)), init(jax.random.key(1))
  return jax.jit(msn.views)(jax.random.key(2), batch), params, teacher, model_state


def loss_of(msn, params, views, teacher, model_state):
  return msn.loss(params, views, key=jax.random.key(3), step=0, ema_params=teacher, model_state=model_state,
                  frozen=None)


@pytest.mark.parametrize('batch_norm', ['by_resolution', 'joint'])
def test_loss_is_the_papers_in_float64(batch_norm, msn, drawn):
  views, params, teacher, model_state = drawn
  msn = dataclasses.replace(msn, batch_norm=batch_norm)
  loss, aux = jax.jit(lambda p: loss_of(msn, p, views, teacher, model_state))(params)

  as64 = lambda tree: jax.tree.map(lambda x: np.asarray(x, np.float64), tree)  # noqa: E731
  student, teacher64, views64 = as64(params), as64(teacher), as64(views)

  def represent(p, images, keep=None):
    patches = patchify(images.reshape(-1, *images.shape[-3:]), 4)
    if keep is not None:
      patches = np.stack([patch[k] for patch, k in zip(patches, keep, strict=True)])
    return (patches @ p['encoder']['embed']['kernel'] + p['encoder']['embed']['bias']).mean(1)

  def project(p, x):
    h, bn = p['head'], p['head']['bn1']
    x = x @ h['fc1']['kernel'] + h['fc1']['bias']
    x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) * bn['scale'] + bn['bias']
    x = x * 0.5 * (1 + special.erf(x / np.sqrt(2)))
    return x @ h['fc2']['kernel'] + h['fc2']['bias']

  def assign(z, temperature):
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)  # noqa: E731
    return special.softmax(unit(z) @ unit(student['prototypes']).T / temperature, axis=-1)

  q = assign(project(teacher64, represent(teacher64, views64['target'])), 0.025)
  for _ in range(3):
    q /= q.sum(0, keepdims=True)
    q /= q.sum(1, keepdims=True)
  random = represent(student, views64['anchor'], np.asarray(views['keep_idx'])).reshape(6, 1, -1)
  focal = represent(student, views64['focal']).reshape(6, 2, -1)
  if batch_norm == 'joint':
    z = project(student, np.concatenate([random, focal], 1).reshape(18, -1)).reshape(6, 3, -1)
  else:
    z = np.concatenate([project(student, x.reshape(-1, 6)).reshape(6, -1, 5) for x in (random, focal)], 1)
  p = assign(z, 0.1)

  cross_entropy = -(q[:, None] * np.log(p)).sum(-1).mean()
  mean = p.reshape(18, 7).mean(0)
  memax = np.log(7) + (mean * np.log(mean)).sum()
  entropy = -(p * np.log(p)).sum(-1).mean()
  np.testing.assert_allclose(loss, cross_entropy + memax + 0.3 * entropy, rtol=1e-4)
  np.testing.assert_allclose(aux.metrics['kl'], cross_entropy + (q * np.log(q)).sum(-1).mean(), rtol=1e-3)
  assert aux.metrics['prototypes_in_use'] == len(set(q.argmax(1)))


def test_gradient_reaches_every_student_parameter_and_never_the_teacher(msn, drawn):
  views, params, teacher, model_state = drawn
  grads, teacher_grads = jax.jit(jax.grad(
    lambda p, t: loss_of(msn, p, views, t, model_state)[0], argnums=(0, 1)))(params, teacher)
  flat = jax.tree_util.tree_leaves_with_path(grads)
  # Batch norm takes out what is constant before it: these two biases have no gradient but round-off.
  constant = [path for path, _ in flat if 'bias' in str(path) and ('fc1' in str(path) or 'embed' in str(path))]
  assert len(constant) == 2
  assert all(np.abs(g).max() > 1e-5 for path, g in flat if path not in constant)
  assert all((np.asarray(g) == 0).all() for g in jax.tree.leaves(teacher_grads))


def test_prototypes_learn_from_anchors_only(msn, drawn):
  views, params, teacher, model_state = drawn

  def loss(prototypes):
    return loss_of(msn, params | {'prototypes': prototypes}, views, teacher, model_state)[0]

  # Central differences see the targets move with the prototypes; the gradient must not.
  gradient = jax.jit(jax.grad(loss))(params['prototypes'])

  def anchors_alone(prototypes):
    log_q = jax.lax.stop_gradient(losses.log_sinkhorn(losses.log_assignments(
      msn._project(teacher, msn._represent(teacher, views['target']), model_state)[0], prototypes, 0.025), 3))
    anchors = [msn._represent(params, views['anchor'], views['keep_idx']), msn._represent(params, views['focal'])]
    z, _ = msn._project_anchors(params, anchors, model_state)
    log_p = losses.log_assignments(z, prototypes, 0.1)
    memax = jnp.log(7.0) - losses.entropy(losses.log_mean(log_p.reshape(-1, 7)))
    return losses.cross_entropy(log_q[:, None], log_p).mean() + memax + 0.3 * losses.entropy(log_p).mean()

  np.testing.assert_allclose(gradient, jax.jit(jax.grad(anchors_alone))(params['prototypes']), rtol=1e-4, atol=1e-6)


def test_collapse_is_no_stationary_point():
  """Proposition 1: where all representations are the same, the gradient is not zero."""
  prototypes = jnp.asarray(np.random.default_rng(0).normal(size=(7, 5)), jnp.float32)
  z = jnp.ones((6, 3, 5))

  def loss(z):
    log_p = losses.log_assignments(z, prototypes, 0.1)
    log_q = jax.lax.stop_gradient(losses.log_assignments(z[:, 0], prototypes, 0.025))
    memax = jnp.log(7.0) - losses.entropy(losses.log_mean(log_p.reshape(-1, 7)))
    return losses.cross_entropy(log_q[:, None], log_p).mean() + memax

  assert np.abs(jax.jit(jax.grad(loss))(z)).max() > 1e-3


def test_views_are_shaped_and_differ(msn, batch, drawn):
  views = drawn[0]
  assert views['target'].shape == (6, 16, 16, 3) and views['anchor'].shape == (6, 1, 16, 16, 3)
  assert views['focal'].shape == (6, 2, 8, 8, 3) and views['keep_idx'].shape == (6, 11)  # floor(16 * 0.7)
  assert np.abs(views['target'] - views['anchor'][:, 0]).max() > 0.1
  assert np.abs(views['focal'][:, 0] - views['focal'][:, 1]).max() > 0.1
  assert len({tuple(row) for row in np.asarray(views['keep_idx']).tolist()}) > 1


def test_views_depend_on_position_not_on_the_batch(msn, batch, drawn):
  part = {name: value[3:5] for name, value in batch.items()}
  see = jax.jit(msn.views)
  views = see(jax.random.key(2), part)
  np.testing.assert_array_equal(views['keep_idx'], drawn[0]['keep_idx'][3:5])
  np.testing.assert_allclose(views['focal'], drawn[0]['focal'][3:5], atol=1e-5)
  # By 2, for keys of positions that are equal modulo 2 must differ as well.
  moved = see(jax.random.key(2), part | {'position': part['position'] + 2})
  assert np.abs(moved['focal'] - views['focal']).max() > 0.1
  assert (moved['keep_idx'] != views['keep_idx']).any()


def test_shared_mask_is_the_authors(msn, batch):
  shared = dataclasses.replace(msn, shared_mask=True, num_random=2)
  see = jax.jit(lambda batch: shared.views(jax.random.key(2), batch)['keep_idx'])  # the pixels are dead code
  keep = np.asarray(see(batch))
  assert keep.shape == (12, 11) and (keep == keep[0]).all()
  later = batch | {'position': batch['position'] + 6}
  assert (np.asarray(see(later)) != keep).any()


@pytest.mark.slow
def test_another_encoder_is_one_field(batch):
  """A CaiT, as `--config.encoder.kind=cait` makes of any MSN config; a ResNet cannot leave out patches."""
  config = shrink(msn_vitb16.get_config())
  config.encoder.kind = 'cait'
  objective = Experiment.parse(config).objective
  params, model_state = jax.jit(objective.init)(jax.random.key(0))
  assert 'class_block1' in params['encoder']
  views = jax.jit(objective.views)(jax.random.key(2), batch)
  gradient = jax.jit(jax.grad(lambda p: loss_of(objective, p, views, params, model_state)[0]))(params)
  assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient['encoder']['class_block1']['mlp']))
  config.encoder.kind = 'resnet'
  with pytest.raises(ConfigError, match="^config.encoder.kind='resnet': cannot leave out patches.*choose vit or cait$"):
    Experiment.parse(config)


def test_prototypes_are_neither_decayed_nor_clipped_as_in_the_authors_code(msn, drawn):
  rules = msn.rules(drawn[1])
  assert jax.tree.structure(rules) == jax.tree.structure(drawn[1])
  prototypes = rules.pop('prototypes')
  assert not prototypes.decay and not prototypes.clip and not prototypes.encoder
  assert all(rule.clip and rule.learning_rate_scale == 1 for rule in jax.tree.leaves(rules))
  assert all(rule.encoder for rule in jax.tree.leaves(rules['encoder']))
  assert not any(rule.encoder for rule in jax.tree.leaves(rules['head']))
  decayed = jax.tree.map(lambda rule: rule.decay, rules['head']['fc1'])
  assert decayed == {'kernel': True, 'bias': False} and not rules['head']['bn1']['scale'].decay


def test_encode_is_the_encoder_alone(msn, drawn):
  params = drawn[1]
  images = jnp.asarray(drawn[0]['target'])
  np.testing.assert_array_equal(msn.encode(params, {}, images)['cls'], msn._represent(params, images))


@pytest.mark.parametrize('size', [2, pytest.param(8, marks=pytest.mark.slow)])
def test_microbatches_give_the_whole_batch_s_loss_and_gradient(size):
  config = shrink(msn_vitb16.get_config())
  config.encoder.update(drop_path=0.2, weight_init='fan_in')
  config.objective.target_temperature = 0.1  # 0.025 would multiply the round-off of sums by 40
  whole = Experiment.parse(config).objective
  params, model_state = jax.jit(whole.init)(jax.random.key(0))
  rng = np.random.default_rng(0)
  batch = {'image': rng.integers(0, 256, (16, 24, 24, 3), np.uint8), 'size': np.full((16, 2), 24, np.int32),
           'position': np.arange(16, dtype=np.uint32), 'label': np.full(16, -1, np.int32)}
  views = jax.jit(whole.views)(jax.random.key(2), batch)

  def loss_and_gradient(objective):
    run = jax.value_and_grad(lambda p: loss_of(objective, p, views, params, model_state), has_aux=True)
    return jax.jit(run)(params)

  (expected, aux), gradient = loss_and_gradient(whole)
  (loss, other), found = loss_and_gradient(dataclasses.replace(whole, microbatch=size))
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  for a, b in zip(*map(jax.tree.leaves, ((found, other.model_state), (gradient, aux.model_state))), strict=True):
    # A bias before batch norm has a gradient of 0, of which only round-off is left.
    assert np.linalg.norm(a - b) <= 1e-5 * max(np.linalg.norm(b), 1)

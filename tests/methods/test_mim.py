"""Supervised + MIM: both losses in float64, what each stream sees, and what the second costs when it is off."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskrep.configs import mim_digits
from maskrep.errors import ConfigError
from maskrep.experiment.experiment import Experiment
from maskrep.methods.mim import StreamMasks
from maskrep.models.decoder import restore_order
from maskrep.models.vit import patchify
from tests.support.tiny import shrink


@pytest.fixture(scope='module')
def mim():
  config = shrink(mim_digits.get_config())
  config.regularisation.update(mixup_alpha=0.5, label_smoothing=0.1)
  return Experiment.parse(config).objective


@pytest.fixture(scope='module')
def batch():
  rng = np.random.default_rng(0)
  return {'image': rng.integers(0, 256, (6, 24, 24, 3), np.uint8), 'size': np.array([[24, 24], [20, 10]] * 3, np.int32),
          'position': np.arange(40, 46, dtype=np.uint32), 'label': np.arange(6, dtype=np.int32)}


@pytest.fixture(scope='module')
def params(mim):
  """Random ones: the classifier starts at 0, and so would the encoder's gradient."""
  shapes, _ = jax.eval_shape(mim.init, jax.random.key(0))
  rng = np.random.default_rng(1)
  return jax.tree.map(lambda s: jnp.asarray(rng.normal(0, 0.2, s.shape), s.dtype), shapes)


@pytest.fixture(scope='module')
def frozen(mim):
  return jax.jit(mim.tokenizer.init)(jax.random.key(5), jnp.zeros((1, 16, 16, 3)))['params']


@pytest.fixture(scope='module')
def views(mim, batch):
  return jax.jit(mim.views)(jax.random.key(2), batch)


def loss_of(mim, params, views, frozen):
  return mim.loss(params, views, key=jax.random.key(3), step=0, ema_params=None, model_state={}, frozen=frozen)


@pytest.mark.parametrize(('kind', 'masked_only', 'reduction'), [
  ('tokens', False, 'mean'), ('tokens', True, 'sum'), ('tokens', False, 'sum'), ('pixels', False, 'mean'),
  ('pixels', True, 'mean')])
def test_loss_is_the_papers_in_float64(kind, masked_only, reduction, mim, params, frozen, views):
  mim = dataclasses.replace(mim, masked_only=masked_only, mim_reduction=reduction, mim_weight=0.7)
  if kind == 'pixels':
    decoder = mim.decoder.clone(output=48)
    kernel = np.random.default_rng(2).normal(0, 0.2, (params['decoder']['predict']['kernel'].shape[0], 48))
    predict = {'kernel': jnp.asarray(kernel, jnp.float32), 'bias': jnp.zeros(48)}
    params = params | {'decoder': params['decoder'] | {'predict': predict}}
    mim = dataclasses.replace(mim, tokenizer=None, decoder=decoder)

  @jax.jit
  def found(params):
    whole = mim.encoder.apply({'params': params['encoder']}, views['supervised'])
    seen = mim.encoder.apply({'params': params['encoder']}, views['image'], views['keep_idx'])['patches']
    predicted = mim.decoder.apply({'params': params['decoder']}, seen, seen.mean(1), views['keep_idx'])
    return loss_of(mim, params, views, frozen), mim.classify(params, whole['patches'].mean(1)), predicted

  (loss, aux), logits, predicted = found(params)
  logits, predicted = np.asarray(logits, np.float64), np.asarray(predicted, np.float64)
  target = np.asarray(views['target'], np.float64)
  assert target.sum(1) == pytest.approx(1, abs=1e-5) and ((target > 0.2).sum(1) <= 2).all()
  probability = 1 / (1 + np.exp(-logits))
  classification = -(target * np.log(probability) + (1 - target) * np.log(1 - probability)).sum(1).mean()

  if kind == 'tokens':
    pixels = np.clip(np.asarray(views['image']) * 0.38 + 0.3, 0, 1)
    ids = jax.jit(lambda x: mim.tokenizer.apply({'params': frozen}, x, method='ids'))(pixels).reshape(6, -1)
    log_p = predicted - np.log(np.exp(predicted).sum(-1, keepdims=True))
    each = -np.take_along_axis(log_p, np.asarray(ids)[..., None], -1)[..., 0]
  else:
    patches = np.asarray(views['image'], np.float64).reshape(6, 4, 4, 4, 4, 3).swapaxes(2, 3).reshape(6, 16, 48)
    normal = (patches - patches.mean(-1, keepdims=True)) / np.sqrt(patches.var(-1, keepdims=True) + 1e-6)
    each = ((predicted - normal) ** 2).mean(-1)
  counted = np.ones((6, 16), bool)
  if masked_only:
    np.put_along_axis(counted, np.asarray(views['keep_idx']), False, axis=1)
    assert counted.sum() == 6 * 4
  # Equation (2) is the sum over the places of an image; the loss is the mean over images.
  per_image = (each * counted).sum(1) if reduction == 'sum' else (each * counted).sum(1) / counted.sum(1)
  expected = classification + 0.7 * per_image.mean()
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  np.testing.assert_allclose(aux.metrics['classification'], classification, rtol=1e-5)


def test_gradient_reaches_every_parameter_and_never_the_tokenizer(mim, params, frozen, views):
  grads, tokenizer = jax.jit(jax.grad(lambda p, f: loss_of(mim, p, views, f)[0], argnums=(0, 1)))(params, frozen)
  still = {name for name, g in jax.tree_util.tree_leaves_with_path(grads) if np.abs(g).max() < 1e-9}
  # Average pooling reads the patches alone, but they see the class token.
  assert not still
  assert all((np.asarray(g) == 0).all() for g in jax.tree.leaves(tokenizer))


def test_the_mim_stream_sees_the_unmixed_image(mim, batch, views):
  plain = jax.jit(dataclasses.replace(
    mim, regularisation=dataclasses.replace(mim.regularisation, mixup_alpha=0.0)).views)(jax.random.key(2), batch)
  np.testing.assert_array_equal(views['image'], plain['image'])
  np.testing.assert_array_equal(plain['image'], plain['supervised'])
  assert (np.abs(views['supervised'] - views['image']).max((1, 2, 3)) > 1e-2).any()


def test_weight_0_is_the_baseline_and_costs_nothing(mim, batch):
  baseline = dataclasses.replace(mim, mim_weight=0.0)
  assert baseline.frozen is None
  params, _ = jax.eval_shape(baseline.init, jax.random.key(0))
  assert set(params) == {'encoder', 'classifier'}
  views = jax.eval_shape(baseline.views, jax.random.key(0), batch)
  assert set(views) == {'supervised', 'target'}


@pytest.mark.parametrize(('supervised', 'mim_pooling', 'masked'), [
  pytest.param('class_token', 'average', False, marks=pytest.mark.slow),
  pytest.param('average', 'class_token', False, marks=pytest.mark.slow), ('class_token', 'class_token', True)])
def test_the_papers_pairings_differ(supervised, mim_pooling, masked, mim, params, frozen, batch):
  mim = dataclasses.replace(mim, supervised_pooling=supervised, mim_pooling=mim_pooling,
                            masking=dataclasses.replace(mim.masking, supervised=masked))
  views = jax.jit(mim.views)(jax.random.key(2), batch)
  found = [float(jax.jit(lambda p, o=o: loss_of(o, p, views, frozen)[0])(params)) for o in (
    mim, dataclasses.replace(mim, supervised_pooling='average', mim_pooling='average'))]
  assert np.isfinite(found).all() and found[0] != found[1]


def test_one_mask_is_of_both_streams_or_of_the_baseline_alone(mim, params, frozen, batch):
  """Figure 5: the supervised stream sees the patches that the MIM stream sees, and no others."""
  both = dataclasses.replace(mim, masking=StreamMasks(ratio=0.5, supervised=True))
  views = jax.jit(both.views)(jax.random.key(2), batch)
  np.testing.assert_array_equal(views['supervised_keep'], views['keep_idx'])
  assert views['keep_idx'].shape == (6, 8)
  baseline = jax.jit(dataclasses.replace(both, mim_weight=0.0).views)(jax.random.key(2), batch)
  assert baseline.keys() == {'supervised', 'target', 'supervised_keep'}
  np.testing.assert_array_equal(baseline['supervised_keep'], views['keep_idx'])

  gradient = jax.jit(jax.grad(lambda image: loss_of(both, params, views | {'supervised': image}, frozen)[0]))(
    views['supervised'])
  seen = np.abs(patchify(gradient, 4)).sum(-1) > 0
  expected = np.zeros((6, 16), bool)
  np.put_along_axis(expected, np.asarray(views['keep_idx']), True, axis=1)
  np.testing.assert_array_equal(seen, expected)


def test_without_a_class_token_the_average_is_both_classified_and_filled_in(mim, params, frozen, batch):
  encoder = mim.encoder.clone(class_token=False)
  without = dataclasses.replace(mim, encoder=encoder)
  weights = {name: leaf for name, leaf in params['encoder'].items() if name != 'cls'}
  weights = params | {'encoder': weights | {'pos': weights['pos'][1:]}}
  views = jax.jit(without.views)(jax.random.key(2), batch)
  loss, aux = jax.jit(lambda p: loss_of(without, p, views, frozen))(weights)
  assert jax.eval_shape(without.init, jax.random.key(0))[0]['encoder']['pos'].shape == (16, 16)
  whole = encoder.apply({'params': weights['encoder']}, views['supervised'])
  logits = np.asarray(mim.classify(params, whole['patches'].mean(1)), np.float64)
  target = np.asarray(views['target'], np.float64)
  expected = (np.log1p(np.exp(logits)) - target * logits).sum(1).mean()
  np.testing.assert_allclose(aux.metrics['classification'], expected, rtol=1e-5)
  assert np.isfinite(loss)
  for field in ('supervised_pooling', 'mim_pooling'):
    with pytest.raises(ValueError, match=f"{field}='class_token': this encoder has none; set config.encoder.class_"):
      dataclasses.replace(without, **{field: 'class_token'})


def test_a_decoder_that_is_carried_over_needs_a_run_and_a_loss():
  config = shrink(mim_digits.get_config())
  config.objective.carry_decoder = True
  with pytest.raises(ConfigError, match="carry_decoder=True: config.train.init_from='' names no run to take it from"):
    Experiment.parse(config)
  config.train.init_from, config.objective.mim_weight = 'runs/x', 0.0
  with pytest.raises(ConfigError, match='carry_decoder=True: there is no decoder with mim_weight=0'):
    Experiment.parse(config)


def test_microbatches_give_the_whole_batch_s_loss_and_gradient(mim, params, frozen, views):
  def loss_and_gradient(objective):
    return jax.jit(jax.value_and_grad(lambda p: loss_of(objective, p, views, frozen)[0]))(params)

  expected, gradient = loss_and_gradient(mim)
  loss, found = loss_and_gradient(dataclasses.replace(mim, microbatch=2))
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  for a, b in zip(*map(jax.tree.leaves, (found, gradient)), strict=True):
    assert np.linalg.norm(a - b) <= 1e-5 * max(np.linalg.norm(b), 1)


def test_places_are_restored():
  rng = np.random.default_rng(0)
  keep = np.stack([rng.permutation(9)[:4] for _ in range(5)])
  visible, fill = rng.normal(size=(5, 4, 3)), rng.normal(size=(5, 3))
  expected = np.repeat(fill[:, None], 9, axis=1)
  np.put_along_axis(expected, keep[..., None], visible, axis=1)
  np.testing.assert_allclose(restore_order(*map(jnp.asarray, (visible, fill, keep)), 9), expected, rtol=1e-6)

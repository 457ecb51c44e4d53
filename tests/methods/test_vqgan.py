"""Training a tokenizer: its loss in float64, where gradients flow, and that it learns the digits."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from maskrep.augment.views import View
from maskrep.data.sources.digits import Digits
from maskrep.methods.rules import standard_rules
from maskrep.methods.vqgan import TrainVQGAN, perplexity, psnr
from maskrep.models.discriminator import PatchDiscriminator
from maskrep.models.encoder import Preprocessing
from maskrep.models.vqgan import VQGAN
from maskrep.train import schedules
from maskrep.train.step import init_state, make_step

START = 10


@pytest.fixture(scope='module')
def objective():
  recipe = View(size=8, crop_scale=(0.6, 1.0), flip=0.5, jitter=0.0, jitter_strength=(0.0,) * 4, grey=0.0, blur=0.0,
                solarise=0.0, mean=(0.0,) * 3, std=(1.0,) * 3)
  tokenizer = VQGAN(channels=8, multipliers=(1, 2), encoder_blocks=1, decoder_blocks=1, embedding=6, codebook_size=19,
                    input_range=(0.0, 1.0), design='maskgit', groups=4)
  return TrainVQGAN(
    tokenizer=tokenizer, discriminator=PatchDiscriminator(width=8, layers=2, groups=4), view=recipe,
    preprocessing=Preprocessing.of(recipe, 1.0), reconstruction_kind='l2', commitment_weight=0.25,
    entropy_weight=0.1, entropy_temperature=0.3, discriminator_weight=0.2, adaptive_weight=False,
    discriminator_start_step=START, microbatch=0)


@pytest.fixture(scope='module')
def batch():
  rng = np.random.default_rng(0)
  return {'image': rng.integers(0, 256, (6, 12, 12, 3), np.uint8), 'size': np.array([[12, 12], [10, 7]] * 3, np.int32),
          'position': np.arange(40, 46, dtype=np.uint32), 'label': np.full(6, -1, np.int32)}


@pytest.fixture(scope='module')
def drawn(objective, batch):
  params, _ = jax.jit(objective.init)(jax.random.key(0))
  return jax.jit(objective.views)(jax.random.key(2), batch), params


def loss_of(objective, params, views, step=START):
  return objective.loss(params, views, key=jax.random.key(3), step=step, ema_params=params, model_state={}, frozen=None)


def loss_and_gradient(objective, params, views, step=START):
  return jax.jit(jax.value_and_grad(lambda p: loss_of(objective, p, views, step)[0]))(params)


@pytest.mark.parametrize('kind', ['l2', 'l1'])
def test_loss_is_its_terms_in_float64(kind, objective, drawn):
  views, params = drawn
  objective = dataclasses.replace(objective, reconstruction_kind=kind)
  loss, aux = jax.jit(lambda p: loss_of(objective, p, views))(params)

  images = np.asarray(views['image'], np.float64)
  apply = lambda name, model, x, **k: jax.jit(  # noqa: E731
    lambda p, x: model.apply({'params': p}, x, **k))(params[name], x)
  z = np.asarray(apply('tokenizer', objective.tokenizer, views['image'], method='encode'), np.float64)
  codebook = np.asarray(params['tokenizer']['codebook'], np.float64)
  distances = ((z[..., None, :] - codebook) ** 2).sum(-1).reshape(-1, 19)
  ids = distances.argmin(1)
  codes = codebook[ids].reshape(z.shape)
  made = apply('tokenizer', objective.tokenizer, jnp.asarray(codes, jnp.float32), method='decode')
  error = np.asarray(made, np.float64) - images
  reconstruction = np.mean(error**2 if kind == 'l2' else np.abs(error))
  soft = np.exp(-distances / 0.3)
  soft /= soft.sum(1, keepdims=True)
  token_entropy = -(soft * np.log(soft)).sum(1).mean()
  codebook_entropy = -(soft.mean(0) * np.log(soft.mean(0))).sum()
  real, fake = (np.asarray(apply('discriminator', objective.discriminator, x), np.float64)
                for x in (views['image'], made))
  discriminator = (np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean()) / 2
  want = reconstruction + 1.25 * np.mean((z - codes) ** 2) + 0.1 * (token_entropy - codebook_entropy)
  want += -0.2 * fake.mean() + discriminator
  np.testing.assert_allclose(loss, want, rtol=1e-5)

  share = np.bincount(ids, minlength=19) / len(ids)
  share = share[share > 0]
  clipped = ((np.clip(made, 0, 1) - images) ** 2).mean((1, 2, 3))
  for name, value in {
    'loss': want, 'reconstruction': reconstruction, 'commitment': np.mean((z - codes) ** 2),
    'token_entropy': token_entropy, 'codebook_entropy': codebook_entropy, 'codes_in_use': len(share),
    'perplexity': np.exp(-(share * np.log(share)).sum()), 'psnr': np.mean(10 * np.log10(1 / clipped)),
    'generator': -fake.mean(), 'discriminator': discriminator}.items():
    np.testing.assert_allclose(aux.metrics[name], value, rtol=2e-5, err_msg=name)
    assert aux.metrics[name].dtype == jnp.float32
  assert 0 < aux.metrics['feature_std'] < 1


def test_gradient_reaches_every_parameter(objective, drawn):
  views, params = drawn
  _, gradient = loss_and_gradient(objective, params, views)
  for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
    assert np.abs(leaf).max() > 1e-9, jax.tree_util.keystr(path)
  assert (np.abs(gradient['tokenizer']['codebook']).max(1) > 0).all()


def test_each_side_learns_from_its_own_term(objective, drawn):
  views, params = drawn
  alone = dataclasses.replace(objective, discriminator_weight=0.0)
  assert 'discriminator' not in jax.eval_shape(alone.init, jax.random.key(0))[0]
  _, without = loss_and_gradient(alone, {'tokenizer': params['tokenizer']}, views)
  _, before = loss_and_gradient(objective, params, views, step=START - 1)
  _, one = loss_and_gradient(objective, params, views)
  _, two = loss_and_gradient(dataclasses.replace(objective, discriminator_weight=0.4), params, views)
  near = lambda a, b: jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), a, b)  # noqa: E731

  # Before its start nothing of it is felt.
  near(before['tokenizer'], without['tokenizer'])
  assert all((np.asarray(g) == 0).all() for g in jax.tree.leaves(before['discriminator']))
  # The discriminator learns from its own loss, whatever the generator's weight.
  near(one['discriminator'], two['discriminator'])

  def own(p):
    see = lambda x: objective.discriminator.apply({'params': p}, x)  # noqa: E731
    made = objective.reconstruct(params, views['image'])
    return (jnp.mean(jax.nn.relu(1 - see(views['image']))) + jnp.mean(jax.nn.relu(1 + see(made)))) / 2

  near(one['discriminator'], jax.jit(jax.grad(own))(params['discriminator']))
  # The tokenizer learns from the generator's term alone, in proportion to its weight, and not from the other.
  steps = [jax.tree.map(lambda a, b: a - b, g['tokenizer'], without['tokenizer']) for g in (one, two)]
  near(jax.tree.map(lambda g: 2 * g, steps[0]), steps[1])
  decoder = steps[0]['decoder']['conv_out']['kernel']
  assert np.abs(decoder).max() > 1e-4
  # Codes are moved by their own losses, not through the decoder.
  assert np.abs(steps[0]['codebook']).max() < 1e-7


def test_codes_follow_the_encoder_and_the_encoder_its_codes(objective, drawn):
  views, params = drawn
  plain = dataclasses.replace(objective, entropy_weight=0.0, discriminator_weight=0.0)
  params = {'tokenizer': params['tokenizer']}
  _, gradient = loss_and_gradient(plain, params, views)
  encode = jax.jit(lambda p, x: plain.tokenizer.apply({'params': p}, x, method='encode'))
  z = np.asarray(encode(params['tokenizer'], views['image']), np.float64)
  z = z.reshape(-1, 6)
  codebook = np.asarray(params['tokenizer']['codebook'], np.float64)
  ids = ((z[:, None] - codebook) ** 2).sum(-1).argmin(1)
  want = np.zeros_like(codebook)
  np.add.at(want, ids, 2 * (codebook[ids] - z) / z.size)
  np.testing.assert_allclose(gradient['tokenizer']['codebook'], want, atol=1e-6)
  # With beta 0 the encoder follows the reconstruction alone; with more it is drawn to the codes, and they stay.
  _, free = loss_and_gradient(dataclasses.replace(plain, commitment_weight=0.0), params, views)
  alone = jax.jit(jax.grad(lambda p: jnp.mean((plain.reconstruct(p, views['image']) - views['image']) ** 2)))(params)
  for a, b in zip(*(jax.tree.leaves(g['tokenizer']['encoder']) for g in (free, alone)), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-6)
  np.testing.assert_allclose(free['tokenizer']['codebook'], want, atol=1e-6)
  bias = lambda g: np.asarray(g['tokenizer']['encoder']['conv_out']['bias'])  # noqa: E731
  drawn_to = 0.25 * 2 * (z - codebook[ids]).sum(0) / z.size
  np.testing.assert_allclose(bias(gradient) - bias(free), drawn_to, atol=1e-6)


def test_microbatches_give_the_whole_batch_s_loss_and_gradient(objective, drawn):
  views, params = drawn
  expected, gradient = loss_and_gradient(objective, params, views)
  loss, found = loss_and_gradient(dataclasses.replace(objective, microbatch=2), params, views)
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  for a, b in zip(*map(jax.tree.leaves, (found, gradient)), strict=True):
    assert np.linalg.norm(a - b) <= 1e-5 * max(np.linalg.norm(b), 1)


def test_views_are_pixels_that_differ_by_position(objective, batch):
  see = jax.jit(objective.views)
  views = np.asarray(see(jax.random.key(2), batch)['image'])
  assert views.shape == (6, 8, 8, 3) and views.min() >= -1e-6 and views.max() <= 1 + 1e-6
  same = batch | {'image': np.repeat(batch['image'][:1], 6, 0), 'size': np.repeat(batch['size'][:1], 6, 0)}
  assert len(np.unique(np.asarray(see(jax.random.key(2), same)['image']).reshape(6, -1), axis=0)) == 6


def test_encode_gives_codes_row_by_row_and_their_mean(objective, drawn):
  views, params = drawn
  out = jax.jit(objective.encode)(params, {}, views['image'])
  ids = jax.jit(lambda p, x: objective.tokenizer.apply({'params': p}, x, method='ids'))(
    params['tokenizer'], views['image'])
  assert out['cls'].shape == (6, 6) and out['patches'].shape == (6, 16, 6)
  np.testing.assert_array_equal(out['patches'][:, 5], params['tokenizer']['codebook'][ids[:, 1, 1]])
  np.testing.assert_allclose(out['cls'], np.asarray(out['patches']).mean(1), atol=1e-6)
  with pytest.raises(ValueError, match='cannot leave out patches'):
    objective.encode(params, {}, views['image'], jnp.zeros((6, 2), jnp.int32))


def test_psnr_and_perplexity_by_hand():
  images = jnp.full((2, 4, 4, 3), 0.5)
  made = images.at[0].add(0.1).at[1].add(2.0)
  np.testing.assert_allclose(psnr(images, made), [20, 20 * np.log10(2)], rtol=1e-5)
  np.testing.assert_allclose(psnr(images, images), [100, 100], rtol=1e-6)
  np.testing.assert_allclose(perplexity(jnp.array([3, 3, 3, 3]), 7), 1, rtol=1e-6)
  np.testing.assert_allclose(perplexity(jnp.array([0, 1, 2, 5]), 7), 4, rtol=1e-6)


@pytest.mark.parametrize(('field', 'value', 'match'), [
  ('reconstruction_kind', 'lpips', 'must be one of l2, l1'), ('entropy_temperature', 0.0, 'must be above 0'),
  ('commitment_weight', -1.0, 'must be at least 0'), ('discriminator_start_step', -1, 'must be at least 0')])
def test_fields_out_of_range_are_refused(field, value, match, objective):
  with pytest.raises(ValueError, match=f'{field}={value!r}: {match}'.replace("'", "'?")):
    dataclasses.replace(objective, **{field: value})


@pytest.mark.parametrize('microbatch', [0, pytest.param(2, marks=pytest.mark.slow)])
def test_the_adaptive_weight_balances_the_last_layers_gradients(microbatch, objective, drawn):
  """By the gradients of three losses: without discriminator, with a fixed weight, with an adaptive one."""
  views, params = drawn
  objective = dataclasses.replace(objective, microbatch=microbatch)
  made_up = lambda leaf: 0.3 * jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape)  # noqa: E731
  params = params | {'discriminator': jax.tree.map(made_up, params['discriminator'])}
  last = lambda gradient: np.asarray(gradient['tokenizer']['decoder']['conv_out']['kernel'])  # noqa: E731
  alone = last(loss_and_gradient(objective, params, views, step=START - 1)[1])
  generator = (last(loss_and_gradient(objective, params, views)[1]) - alone) / 0.2
  adaptive = dataclasses.replace(objective, adaptive_weight=True)
  found = last(loss_and_gradient(adaptive, params, views)[1]) - alone
  assert np.linalg.norm(generator) > 1e-4
  expected = 0.2 * np.linalg.norm(alone) / np.linalg.norm(generator) * generator
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
  assert np.linalg.norm(found) == pytest.approx(0.2 * np.linalg.norm(alone), rel=1e-3)


@pytest.mark.slow
def test_it_learns_the_digits(objective):
  objective = dataclasses.replace(
    objective, discriminator_start_step=30, discriminator_weight=0.01, entropy_weight=0.02, entropy_temperature=0.05)
  optimizer = optax.adam(3e-3)
  state = jax.jit(lambda: init_state(objective.init, optimizer, 0))()
  rules = standard_rules(jax.eval_shape(objective.init, jax.random.key(0))[0])
  step = jax.jit(make_step(objective, optimizer, schedules.linear(0.9, 0.9, 100), 0, rules))
  source = Digits('train')
  canvases = np.stack([source[i].image for i in range(len(source))])[..., None].repeat(3, -1)
  seen = []
  for t in range(60):
    rows = np.arange(32 * t, 32 * (t + 1))
    state, metrics = step(state, {'image': canvases[rows % len(source)], 'size': np.full((32, 2), 8, np.int32),
                                  'position': rows.astype(np.uint32), 'label': np.full(32, -1, np.int32)})
    seen.append(jax.device_get(metrics))
  first, last = seen[0], seen[-1]
  print({name: (round(float(first[name]), 3), round(float(last[name]), 3)) for name in sorted(first)})
  assert last['reconstruction'] < 0.5 * first['reconstruction']
  assert last['psnr'] > first['psnr'] + 3
  assert last['codes_in_use'] > 10 and all(m['skipped_updates'] == 0 for m in seen)

  images = canvases[:5] / np.float32(255)
  made = jax.jit(objective.reconstruct)(state.ema_params, images)
  assert made.shape == images.shape and np.mean((made - images) ** 2) < 0.7 * images.var()

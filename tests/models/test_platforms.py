"""The forms that encoders have on GPUs and TPUs compute what the CPU's do, here on a CPU and in float32.

cuDNN's attention, which takes 16 bits, runs on a GPU alone.
"""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskrep.compiled_for import compiling_for
from maskrep.models.attention import attend, pad_tokens
from maskrep.models.cait import CaiT
from maskrep.models.encoder import patches_after, represent
from maskrep.models.norm import BatchNorm
from maskrep.models.vit import ViT

RANDOM = np.random.default_rng(0)
IMAGES = jnp.asarray(RANDOM.normal(size=(2, 12, 12, 3)), jnp.float32)
SIZES = dict(patch_size=4, width=24, depth=2, heads=3, image_size=12)  # 9 patches: no multiple of 2 or 8
SHORT = SIZES | {'depth': 1, 'class_depth': 1}
CASES = {
  'class token': ViT(**SIZES),
  'no class token': ViT(**SIZES, class_token=False),
  'class attention': CaiT(**SHORT),
  'talking heads': CaiT(**SHORT, talking_heads=True),
}


def randomised(model):
  shapes = jax.eval_shape(model.init, jax.random.key(0), IMAGES)
  return jax.tree.map(lambda s: jnp.asarray(RANDOM.normal(0, 0.3, s.shape), s.dtype), shapes)


def results(model, variables, platform):
  """Outputs, and the gradients of a number that all of them enter."""
  def loss(variables):
    out = model.apply(variables, IMAGES)
    return sum(jnp.sin(each).sum() for each in out.values()), out

  with compiling_for(platform):
    return jax.jit(jax.grad(loss, has_aux=True))(variables)


@pytest.mark.parametrize('model', CASES.values(), ids=CASES.keys())
def test_outputs_and_gradients_are_those_of_the_cpu(model):
  variables = randomised(model)
  want = results(model, variables, 'cpu')
  for platform in ('gpu', 'tpu'):
    got = results(model, variables, platform)
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), got, want)


def test_concatenated_blocks_are_without_their_padding():
  model = CASES['no class token']
  variables = randomised(model)

  def layers(platform):
    with compiling_for(platform):
      return jax.jit(lambda variables: represent(model, variables, IMAGES, pooling='average', layers=2))(variables)

  np.testing.assert_allclose(layers('tpu'), layers('cpu'), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('model', [
  CASES['class token'], CASES['no class token'], CaiT(**SIZES), CaiT(**SIZES, instance='class_token'),
], ids=['class token', 'no class token', 'class attention', 'class token in the trunk'])
def test_patches_after_blocks_are_without_their_padding(model):
  variables = randomised(model)

  def levels(platform):
    with compiling_for(platform):
      return jax.jit(lambda variables: patches_after(model, variables, IMAGES, None, (1, 2)))(variables)

  for got, want in zip(levels('tpu'), levels('cpu'), strict=True):
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('capability, fused', [('7.5', False), ('8.0', True), ('12.0', True), ('gfx90a', False)])
def test_gpus_without_fused_attention_do_without(capability, fused, monkeypatch):
  asked = []
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  monkeypatch.setattr(jax, 'devices', lambda: [SimpleNamespace(compute_capability=capability)])
  monkeypatch.setattr(jax.nn, 'dot_product_attention', lambda *_, implementation, **__: asked.append(implementation))
  x = np.ones((2, 8, 3, 8), jnp.bfloat16)
  attend(x, x, x)
  assert asked == ['cudnn' if fused else 'xla']


def test_tokens_are_padded_to_what_each_platform_needs():
  def lengths(dtype):
    found = []
    for platform in ('cpu', 'gpu', 'tpu'):
      with compiling_for(platform):
        found.append(pad_tokens(jnp.ones((2, 37, 4), dtype)).shape[1])
    return found

  assert lengths(jnp.float32) == [37, 37, 40]
  assert lengths(jnp.bfloat16) == [37, 38, 40]


@pytest.mark.parametrize('platform', ['gpu', 'tpu'])
def test_padded_tokens_are_not_attended_to(platform):
  q, k, v = (jnp.asarray(RANDOM.normal(size=(2, 8, 3, 8)), jnp.float32) for _ in range(3))
  with compiling_for(platform):
    got = attend(q, k.at[:, 5:].set(9), v.at[:, 5:].set(9), 5)
  np.testing.assert_allclose(got[:, :5], attend(q[:, :5], k[:, :5], v[:, :5]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('affine', [True, False])
def test_batch_norm_of_a_gpu_is_that_of_a_cpu(affine):
  model = BatchNorm(affine=affine)
  x = jnp.asarray(RANDOM.normal(3, 2, (6, 4, 5)), jnp.float32)
  variables = model.init(jax.random.key(0), x)
  params = jax.tree.map(lambda a: a + 0.5, variables.get('params', {}))

  def loss(params, x):
    y, stats = model.apply({**variables, 'params': params}, x, train=True, mutable=['batch_stats'])
    return jnp.sin(y).sum(), (y, stats)

  def results(platform):
    with compiling_for(platform):
      return jax.jit(jax.grad(loss, (0, 1), has_aux=True))(params, x)

  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), results('gpu'), results('cpu'))

"""Model FLOPs and memory against counts by hand."""

import jax
import jax.numpy as jnp
import pytest

from maskrep.compiled_for import compiling_for
from maskrep.models.attention import attend
from maskrep.train import cost
from maskrep.train.cost import matmul_flops

A, B = jnp.ones((3, 5)), jnp.ones((5, 7))
PRODUCT = 2 * 3 * 5 * 7


def flops(function, *arguments):
  return matmul_flops(jax.jit(function).trace(*arguments))


def test_a_product_and_its_gradients():
  assert flops(jnp.matmul, A, B) == PRODUCT
  # Forwards is not needed for the gradients of a sum of a product; two products of the same size are.
  gradients = jax.grad(lambda a, b: jnp.sum(a @ b), argnums=(0, 1))
  assert flops(gradients, A, B) == 2 * PRODUCT


def test_loops_and_inner_functions_count_and_dead_code_does_not():
  def thrice(a, b):
    jax.jit(jnp.matmul)(2 * a, b)  # nobody reads it
    return jax.lax.scan(lambda total, _: (total + jax.jit(jnp.matmul)(a, b), None), jnp.zeros((3, 7)), length=3)[0]

  assert flops(thrice, A, B) == 3 * PRODUCT


def test_a_convolution():
  images, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((5, 5, 3, 4))
  convolve = lambda x, k: jax.lax.conv_general_dilated(  # noqa: E731
    x, k, (2, 2), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
  assert flops(convolve, images, kernel) == 2 * (2 * 4 * 4 * 4) * (5 * 5 * 3)


def test_fused_attention_counts_as_the_products_that_it_replaces(monkeypatch):
  monkeypatch.setattr('jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version', lambda: 91000)  # on a CPU
  x = jnp.ones((2, 6, 3, 8), jnp.bfloat16)

  def count(platform):
    with compiling_for(platform):
      return flops(jax.grad(lambda *qkv: jnp.sin(attend(*qkv)).sum(), (0, 1, 2)), x, x, x)

  assert count('gpu') == count('cpu') == 6 * 2 * (2 * 3 * 6 * 6 * 8)


def test_a_program_that_the_compiler_refuses_for_its_memory_is_none():
  class Lowered:
    def __init__(self, said):
      self.said = said

    def compile(self):
      raise jax.errors.JaxRuntimeError(self.said)

  assert cost.compiled(Lowered('RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm.')) is None
  with pytest.raises(jax.errors.JaxRuntimeError, match='INTERNAL'):
    cost.compiled(Lowered('INTERNAL: broken'))


def test_memory_of_a_step_whose_state_is_donated():
  state, batch = jnp.ones((64, 32)), jnp.ones((64, 1))
  step = jax.jit(lambda state, batch: (state + batch, jnp.sum(batch)), donate_argnums=0)
  arguments, rest = cost.memory(step.lower(state, batch).compile())
  assert arguments == 4 * 64 * (32 + 1)
  # The new state lies in the old one.
  assert 0 < rest < 4 * 64


def test_the_peak_is_that_of_the_fullest_device_that_says_so(monkeypatch):
  class Device:
    def __init__(self, stats):
      self.memory_stats = lambda: stats

  for stats, peak in (([None, None], None), ([{}, {'bytes_limit': 9}], None),
                      ([{'peak_bytes_in_use': 5}, {'peak_bytes_in_use': 7, 'bytes_limit': 9}, None], 7)):
    monkeypatch.setattr(jax, 'local_devices', lambda stats=stats: [Device(each) for each in stats])
    assert cost.peak_bytes() == peak

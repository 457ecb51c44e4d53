"""Twenty steps of the digits runs in the forms of an accelerator, on a CPU, against the CPU's in float32.

cuDNN's attention runs on a GPU alone: the GPU's other forms are compared in float32, the TPU's in 16 bits.
"""

import pytest

from maskrep.compiled_for import compiling_for
from tests.long.test_configs import CONFIGS, load, made
from tests.support.pins import measure

TOLERANCE = 0.01  # of each loss, relative


def losses(name, platform, dtype):
  config = made(load(next(path for path in CONFIGS if path.stem == name)))
  config.compute_dtype = dtype
  with compiling_for(platform):
    return measure(config)['losses']


@pytest.mark.slow
@pytest.mark.parametrize('name', ['msn_digits', 'extrema_digits', 'mscn_digits', 'mim_digits'])
def test_losses_are_those_of_the_cpu(name):
  want = losses(name, 'cpu', 'float32')
  assert losses(name, 'gpu', 'float32') == pytest.approx(want, rel=TOLERANCE)
  assert losses(name, 'tpu', 'bfloat16') == pytest.approx(want, rel=TOLERANCE)

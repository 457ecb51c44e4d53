"""An encoder as an ONNX file, by jax2onnx, which translates the operations of jax one by one.

jax2onnx 0.13 and 0.17.1 were tested with jax 0.10.2. TensorFlow's converter (tf2onnx) is no way: it does not know the
one operation that a SavedModel of jax consists of.
"""

from collections.abc import Callable
import logging
from pathlib import Path

import jax
import jax.numpy as jnp

from maskrep.errors import ConfigError
from maskrep.workdir import write_atomic

Encode = Callable[[jax.Array], dict[str, jax.Array]]


def export(encode: Encode, size: int, path: Path) -> None:
  """Writes an ONNX file with the input `images`, for any number of them, whole or not at all.

  Args:
    encode: float32 `images` [B, size, size, 3] -> named arrays [B, ...], the outputs of the file. Arrays that it closes
      over are stored in the file. B is not known when it is traced: `images.shape[0]`, not `len`.
    size: height and width of the images.
    path: of the file.

  Raises:
    ConfigError: jax2onnx is not installed.
  """
  # It tells at length, with tracebacks, of operations of other libraries that it cannot translate.
  logging.getLogger('jax2onnx').setLevel(logging.ERROR)
  try:
    from jax2onnx import to_onnx
  except ImportError as error:
    raise ConfigError(f"{path}: ONNX is written with jax2onnx, which is not installed ({error}); "
                      "pip install -e '.[onnx]'") from error
  names = sorted(jax.eval_shape(encode, jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)))
  model = to_onnx(encode, [('batch', size, size, 3)], input_names=['images'], output_names=names)
  write_atomic(path, model.SerializeToString())

"""An encoder as an ONNX file, by jax2onnx, which translates the operations of jax one by one.

It may translate wrongly without an error: with jax 0.10.2, jax2onnx 0.13 and 0.17.1 lose the padding of max-pooling,
so that ResNets with the ImageNet stem fail. So a file is kept only if ONNX Runtime computes the same, see `peer`.
TensorFlow's converter, tf2onnx 1.17, is not an alternative: it does not know XlaCallModule, the operation that a
SavedModel of jax consists of.
"""

from collections.abc import Callable
import logging
from pathlib import Path

import jax
import jax.numpy as jnp

from maskrep.errors import ConfigError
from maskrep.weights.peers import Peer
from maskrep.workdir.files import write_atomic

KINDS = 'vit', 'cait', 'resnet'
SUFFIXES = ('.onnx',)

Encode = Callable[[jax.Array], dict[str, jax.Array]]


def export(encode: Encode, size: int, path: Path) -> Path:
  """Writes an ONNX file with the input `images`, for any batch size; returns its path.

  Args:
    encode: float32 `images` [B, size, size, 3] -> named arrays [B, ...], the outputs of the file. Arrays that it closes
      over are stored in the file. B is symbolic during tracing: use `images.shape[0]`, not `len`.
    size: height and width of the images.
    path: of the file.

  Raises:
    ConfigError: jax2onnx or ONNX Runtime is not installed, or it cannot translate `encode`.
  """
  # It logs tracebacks about operations of other libraries that it cannot translate.
  logging.getLogger('jax2onnx').setLevel(logging.ERROR)
  to_onnx, _ = _libraries(path)
  names = sorted(jax.eval_shape(encode, jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)))
  try:
    model = to_onnx(encode, [('batch', size, size, 3)], input_names=['images'], output_names=names).SerializeToString()
  except Exception as error:  # of any type: an unknown operation, or more than 2 GB
    reason = ' '.join(f'{type(error).__name__}: {error}'.split())[:200]
    raise ConfigError(f'{path}: jax2onnx cannot translate this ({reason}); choose --format=saved_model') from error
  write_atomic(path, model)
  return path


def peer(path: Path) -> Peer:
  """The file, run by ONNX Runtime."""
  _, onnxruntime = _libraries(path)
  session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
  names = [output.name for output in session.get_outputs()]
  return (f'ONNX Runtime {onnxruntime.__version__}',
          lambda images: dict(zip(names, session.run(names, {'images': images}), strict=True)))


def _libraries(path):
  try:
    # Extras.
    from jax2onnx import to_onnx  # pyright: ignore[reportMissingImports]
    import onnxruntime  # pyright: ignore[reportMissingImports]
  except ImportError as error:
    raise ConfigError(f"{path}: ONNX is written with jax2onnx and onnxruntime, which are not installed ({error}); "
                      "pip install -e '.[onnx]'") from error
  return to_onnx, onnxruntime

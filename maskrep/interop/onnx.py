"""An encoder as an ONNX file, by jax2onnx, which translates the operations of jax one by one.

It may do so wrongly without a word: with jax 0.10.2, jax2onnx 0.13 and 0.17.1 lose the padding of max-pooling, and so
the ResNets with the ImageNet stem. So what it makes is run by ONNX Runtime before it is kept. TensorFlow's converter,
tf2onnx 1.17, is no way: it does not know XlaCallModule, the operation that a SavedModel of jax consists of.
"""

from collections.abc import Callable
import logging
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from maskrep.errors import ConfigError
from maskrep.interop.peers import Peer
from maskrep.workdir import write_atomic

KINDS = 'vit', 'cait', 'resnet'
SUFFIXES = ('.onnx',)
TOLERANCE = 1e-4
REMEDY = 'nothing was written: export a SavedModel or a .safetensors file instead'

Encode = Callable[[jax.Array], dict[str, jax.Array]]


def export(encode: Encode, size: int, path: Path) -> Path:
  """Writes an ONNX file with the input `images`, for any number of them, whole or not at all; returns it.

  Args:
    encode: float32 `images` [B, size, size, 3] -> named arrays [B, ...], the outputs of the file. Arrays that it closes
      over are stored in the file. B is not known when it is traced: `images.shape[0]`, not `len`.
    size: height and width of the images.
    path: of the file.

  Raises:
    ConfigError: jax2onnx or ONNX Runtime is not installed, or the file would not compute what `encode` does.
  """
  # It tells at length, with tracebacks, of operations of other libraries that it cannot translate.
  logging.getLogger('jax2onnx').setLevel(logging.ERROR)
  try:
    from jax2onnx import to_onnx
    import onnxruntime
  except ImportError as error:
    raise ConfigError(f"{path}: ONNX is written with jax2onnx and onnxruntime, which are not installed ({error}); "
                      "pip install -e '.[onnx]'") from error
  names = sorted(jax.eval_shape(encode, jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)))
  model = to_onnx(encode, [('batch', size, size, 3)], input_names=['images'], output_names=names).SerializeToString()
  session = onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider'])
  for batch in (1, 3):
    images = np.random.default_rng(0).normal(size=(batch, size, size, 3)).astype(np.float32)
    want = encode(images)
    for name, made in zip(names, session.run(names, {'images': images}), strict=True):
      if made.shape != want[name].shape:
        raise ConfigError(f'{path}: jax2onnx translates this encoder wrongly ({name!r} has shape {made.shape} and not '
                          f'{want[name].shape}); {REMEDY}')
      apart = np.abs(made - want[name]).max() / max(np.abs(want[name]).max(), 1)
      if not apart < TOLERANCE:
        raise ConfigError(f'{path}: jax2onnx translates this encoder wrongly ({name!r} is {apart:.1e} apart); {REMEDY}')
  write_atomic(path, model)
  return path


def peer(path: Path) -> Peer:
  """The file, as ONNX Runtime runs it."""
  import onnxruntime

  session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
  names = [output.name for output in session.get_outputs()]
  return (f'ONNX Runtime {onnxruntime.__version__}',
          lambda images: dict(zip(names, session.run(names, {'images': images}), strict=True)))

"""An encoder as a TensorFlow SavedModel, which serves without jax: `tf.saved_model.load(folder).signatures[...]`.

`jax.export` writes StableHLO, which TensorFlow runs in its operation XlaCallModule. `jax2tf.convert` of jax 0.10 does
the same, but its StableHLO for `erf` (and so for GELU) is too new for TensorFlow 2.21, the newest; and orbax-export is
built on jax2tf.
"""

from pathlib import Path

import jax
import jax.numpy as jnp

from maskrep.compiled_for import compiling_for
from maskrep.errors import ConfigError
from maskrep.jax_internals import portable
from maskrep.weights.peers import Peer
from maskrep.weights.pretrained import Pretrained, forward, module, variables

PLATFORMS = 'cpu', 'cuda', 'tpu'
KINDS = 'vit', 'cait', 'resnet'
SUFFIXES = ()
STABLEHLO = '1.13.7'  # the newest that TensorFlow 2.21 reads; later versions read it too
SIGNATURE = 'serving_default'


def export(pretrained: Pretrained, size: int, folder: Path) -> Path:
  """Writes a SavedModel with one signature, `serving_default`, for any batch size; returns the folder.

  Its input is float32 `images` [B, size, size, 3], its outputs those of `Pretrained.encode`, its variables the arrays.

  Raises:
    ConfigError: TensorFlow is not installed.
  """
  tf, xla = _tensorflow(folder)
  # Otherwise TensorFlow reserves all memory of the GPUs that jax uses, without need.
  tf.config.set_visible_devices([], 'GPU')

  images = jax.ShapeDtypeStruct((*jax.export.symbolic_shape('batch'), size, size, 3), jnp.float32)
  # Weights are passed as arguments, so that they become variables: a graph cannot be larger than 2 GB.
  weights = variables(pretrained.arrays)
  encode = jax.jit(forward(module(pretrained.kind, pretrained.config)))
  with compiling_for('cpu'):  # a form that is right on all platforms, whichever this machine has
    exported = jax.export.export(encode, platforms=PLATFORMS)(weights, images)
  program = portable(exported, STABLEHLO)

  served = tf.Module()
  served.weights = [tf.Variable(weight, trainable=False) for weight in jax.tree.leaves(weights)]

  @tf.function(input_signature=[tf.TensorSpec((None, size, size, 3), tf.float32, 'images')], autograph=False)
  def serve(images):
    arguments = [*served.weights, images]
    made = xla.call_module(
      [arguments[i] for i in exported.module_kept_var_idx], module=program, version=exported.calling_convention_version,
      platforms=[platform.upper() for platform in exported.platforms],
      Tout=[aval.dtype for aval in exported.out_avals],
      Sout=[[d if isinstance(d, int) else None for d in aval.shape] for aval in exported.out_avals])
    return jax.tree.unflatten(exported.out_tree, made)

  served.serve = serve
  tf.saved_model.save(served, str(folder), signatures={SIGNATURE: serve})
  return folder


def peer(folder: Path) -> Peer:
  """The signature, run by TensorFlow."""
  tf, _ = _tensorflow(folder)
  model = tf.saved_model.load(str(folder))

  def run(images):
    return {name: value.numpy() for name, value in model.signatures[SIGNATURE](images=tf.constant(images)).items()}

  return f'TensorFlow {tf.__version__}', run


def _tensorflow(folder):
  try:
    # An extra, and this part of it has no types.
    import tensorflow as tf  # pyright: ignore[reportMissingModuleSource]
    from tensorflow.compiler.tf2xla.python import xla  # pyright: ignore[reportMissingImports]
  except ImportError as error:
    raise ConfigError(f"{folder}: a SavedModel is written with TensorFlow, which is not installed ({error}); "
                      "pip install -e '.[tensorflow]'") from error
  return tf, xla

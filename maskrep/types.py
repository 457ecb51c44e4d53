"""The nouns that every room shares: axes, batches, the training state, and what an objective is.

Axis legend, used in every docstring:
  B  examples of the global batch      V  views of one example      C  colour channels
  N  patches of a view                 K  patches kept by a mask    D  width of a representation
  P  prototypes                        H, W  height and width in pixels

A `Batch` maps names to arrays; an objective names those it `reads`:
  image     uint8  [B, S, S, 3]  the decoded picture in the top left corner of a zero canvas
  size      int32  [B, 2]        its true height and width in pixels
  position  uint32 [B]           place in the global stream of examples: the source of every random choice
  label     int32  [B]           class, -1 if there is none
  label_map uint8  [B, S, S]     class of each pixel, 255 if there is none
`Views` maps names to what the loss reads: float32 images [B, H, W, 3] and int32 indices [B, K].
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from flax import struct
import jax
import numpy as np

Array = jax.Array
AnyArray = jax.Array | np.ndarray  # on devices or on the host
Params = Any  # a pytree of float32 arrays
Batch = Mapping[str, Array]
Views = Mapping[str, Array]


class Dataclass(Protocol):
  """A dataclass, or a Flax module, which is one."""

  __dataclass_fields__: ClassVar[dict[str, Any]]


class Network(Dataclass, Protocol):
  """A Flax module, held by those who know only that. Its fields are attributes.

  Flax declares that `apply` may return a pair; it does so only with `mutable`, and no type can tell.
  """

  def init(self, rngs: Array, *args: Any, **kwargs: Any) -> Any: ...

  def apply(self, variables: Any, *args: Any, **kwargs: Any) -> Any: ...

  def __getattr__(self, name: str) -> Any: ...


class Aux(NamedTuple):
  """The outputs of a loss beside its value."""

  metrics: dict[str, Array]  # named float32 scalars
  model_state: Any  # batch statistics after this step


@struct.dataclass
class TrainState:
  """Everything that changes while training; nothing else needs to be restored to go on."""

  step: Array  # int32 scalar: the number of steps done
  params: Params
  ema_params: Params
  model_state: Any
  opt_state: Any
  skipped: Array  # int32 [2]: updates skipped since the last good one, and in all


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
  """How one parameter is trained.

  Attributes:
    learning_rate_scale: multiplies its update; 0 leaves it as it is, bit for bit, without moments.
    decay: whether weight decay applies to it.
    clip: whether gradient clipping applies to it, and counts it in the norm.
    encoder: whether it is part of the encoder, which `train.freeze_encoder_steps` holds.
  """

  learning_rate_scale: float = 1.0
  decay: bool = True
  clip: bool = True
  encoder: bool = False


class FrozenWeights(NamedTuple):
  """Weights that a loss reads and no step changes, taken from another run or from an import.

  Attributes:
    path: the workdir of that run, or the folder of the import.
    field: the field of the config that named it, for errors.
    module: the network that the weights must be of.
    shapes: pytree of their shapes and types.
  """

  path: str
  field: str
  module: Network
  shapes: Params


class Objective(Protocol):
  """One paper. Pure functions of their arguments, written for the global batch as if there were one device.

  Attributes:
    reads: the fields of a batch that `views` reads.
    preprocessing: a `models.encoder.Preprocessing`, what `encode` expects of its images.
    pooling: what represents an image to the objective, one of `models.encoder.POOLING`.
    backbone: the name among the parameters, and the module, of the network that training is for.
    masked: the views that are shown masked: name -> name of the array of patches that it keeps, or None if its pixels
      are masked already.
    frozen: the weights that the loss reads and no step changes; None if there are none.
    exact_microbatches: whether `train.microbatch` leaves loss and gradient as they are, up to round-off.
  """

  @property
  def reads(self) -> tuple[str, ...]: ...

  @property
  def preprocessing(self) -> Any: ...

  @property
  def pooling(self) -> str: ...

  @property
  def masked(self) -> Mapping[str, str | None]: ...

  @property
  def exact_microbatches(self) -> bool: ...

  @property
  def backbone(self) -> tuple[str, Network]: ...

  @property
  def frozen(self) -> FrozenWeights | None: ...

  def init(self, key: Array) -> tuple[Params, Any]:
    """Returns (params, model_state).

    Running statistics of an encoder are `model_state['student']['encoder']`, and `['teacher']['encoder']` if those of
    the teacher are its own: evaluation and export look for them there.
    """
    ...

  def rules(self, params: Params) -> Any:
    """A pytree of `Rule`, of the structure of `params`, of which only the shapes are read."""
    ...

  def views(self, key: Array, batch: Batch) -> Views:
    """Cuts the views and draws the masks of a batch, each from a key folded from its example's position."""
    ...

  def loss(
    self, params: Params, views: Views, *, key: Array, step: Array, ema_params: Params, model_state: Any, frozen: Any
  ) -> tuple[Array, Aux]:
    """Returns the float32 loss of the global batch and an `Aux`. Reads `ema_params`, never writes them."""
    ...

  def encode(self, params: Params, model_state: Any, images: Array, keep_idx: Array | None = None) -> dict[str, Array]:
    """Preprocessed images [B, H, W, 3] -> {'cls': [B, D], 'patches': [B, N, D]}, for evaluation and export."""
    ...


@runtime_checkable
class Classifies(Protocol):
  """An objective with a classifier of its own."""

  @property
  def num_classes(self) -> int: ...

  def classify(self, params: Params, representation: Array) -> Array:
    """'cls' of `encode`, [B, D] -> logits [B, num_classes]."""
    ...


@runtime_checkable
class CarriesOver(Protocol):
  """An objective that starts from more than the encoder of `train.init_from`."""

  @property
  def carried(self) -> tuple[str, ...]:
    """Names among the parameters, and of sections of the config, of the networks that come along; () if none do."""
    ...


@runtime_checkable
class Segments(Protocol):
  """An objective that gives each patch a class."""

  @property
  def map_classes(self) -> int: ...

  def segment(self, params: Params, images: Array) -> Array:
    """Preprocessed images [B, H, W, 3] -> logits [B, rows, columns, map_classes] of their patches."""
    ...


@runtime_checkable
class Reconstructs(Protocol):
  """An objective that makes images of its representation."""

  def reconstruct(self, params: Params, images: Array) -> Array:
    """Preprocessed images [B, H, W, 3] -> their reconstructions, of the same shape, not clipped."""
    ...

"""Types shared by all packages: axes, batches, the training state, and the interface of an objective.

Axis legend, used in every docstring:
  B  examples of the global batch      V  views of one example      C  colour channels
  N  patches of a view                 K  patches kept by a mask    D  width of a representation
  P  prototypes                        H, W  height and width in pixels

A `Batch` maps names to arrays; an objective lists the ones it `reads`:
  image     uint8  [B, S, S, 3]  the decoded picture in the top left corner of a zero canvas
  size      int32  [B, 2]        its true height and width in pixels
  position  uint32 [B]           place in the global stream of examples: the source of every random choice
  label     int32  [B]           class, -1 if there is none
  label_map uint8  [B, S, S]     class of each pixel, 255 if there is none
`Views` maps names to the inputs of the loss: float32 images [B, H, W, 3] and int32 indices [B, K].
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
  """A Flax module, for code that knows nothing more of it. Its fields are attributes.

  Flax declares that `apply` may return a pair; it does so only with `mutable`, which types cannot express.
  """

  def init(self, rngs: Array, *args: Any, **kwargs: Any) -> Any: ...

  def apply(self, variables: Any, *args: Any, **kwargs: Any) -> Any: ...

  def __getattr__(self, name: str) -> Any: ...


class Aux(NamedTuple):
  """The outputs of a loss besides its value."""

  metrics: dict[str, Array]  # named float32 scalars
  model_state: Any  # batch statistics after this step


@struct.dataclass
class TrainState:
  """Everything that changes during training; nothing else needs to be restored to resume."""

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
    learning_rate_scale: multiplies its update; 0 leaves it unchanged, bit for bit, and without moments.
    decay: whether weight decay applies to it.
    clip: whether gradient clipping applies to it and its gradient counts in the norm.
    encoder: whether it is part of the encoder, which `train.freeze_encoder_steps` keeps fixed.
  """

  learning_rate_scale: float = 1.0
  decay: bool = True
  clip: bool = True
  encoder: bool = False


class FrozenWeights(NamedTuple):
  """Weights that the loss reads and no step changes, taken from another run or an import.

  Attributes:
    path: the workdir of that run, or the folder of the import.
    field: the config field that named it, for errors.
    module: the network that the weights belong to.
    shapes: pytree of their shapes and types.
  """

  path: str
  field: str
  module: Network
  shapes: Params


class Objective(Protocol):
  """The method of one paper. Pure functions of their arguments, for the global batch as if there were one device.

  Attributes:
    reads: the fields of a batch that `views` reads.
    preprocessing: a `models.encoder.Preprocessing`: how the images given to `encode` must be prepared.
    pooling: how the objective pools an image's representation, one of `models.encoder.POOLING`.
    backbone: the network that training is for: its name among the parameters, and its module.
    masked: the masked views: name -> name of the array of the patches it keeps, or None if its pixels are already
      masked.
    frozen: the weights that the loss reads and no step changes; None if there are none.
    exact_microbatches: whether `train.microbatch` leaves loss and gradient unchanged, up to round-off.
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

    Running statistics of an encoder are in `model_state['student']['encoder']`, and in `['teacher']['encoder']` if the
    teacher has its own: evaluation and export look for them there.
    """
    ...

  def rules(self, params: Params) -> Any:
    """A pytree of `Rule` with the structure of `params`, of which only the shapes are read."""
    ...

  def views(self, key: Array, batch: Batch) -> Views:
    """Cuts the views and draws the masks of a batch, with keys folded from the position of each example."""
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
  """An objective that takes more than the encoder from `train.init_from`."""

  @property
  def carried(self) -> tuple[str, ...]:
    """Names of the networks carried over, among the parameters and as sections of the config; () if none are."""
    ...


@runtime_checkable
class Segments(Protocol):
  """An objective that predicts a class for each part of an image, as a patch.

  Attributes:
    map_classes: number of classes.
    stride: pixels between sliding windows in evaluation; 0 squashes the whole image to one square.
  """

  @property
  def map_classes(self) -> int: ...

  @property
  def stride(self) -> int: ...

  def segment(self, params: Params, model_state: Any, images: Array) -> Array:
    """Preprocessed images [B, H, W, 3] -> logits [B, rows, columns, map_classes] of their parts."""
    ...


@runtime_checkable
class Reconstructs(Protocol):
  """An objective that reconstructs images from its representation."""

  def reconstruct(self, params: Params, images: Array) -> Array:
    """Preprocessed images [B, H, W, 3] -> their reconstructions, of the same shape, not clipped."""
    ...


@runtime_checkable
class Assigns(Protocol):
  """An objective that assigns images to prototypes."""

  def assign(self, params: Params, model_state: Any, images: Array) -> Array:
    """Preprocessed images [B, H, W, 3] -> log-probabilities of their prototypes, float32 [B, P]."""
    ...

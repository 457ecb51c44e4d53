"""The nouns that every room shares: axes, the training state and an objective.

Axis legend, used in every docstring:
  B  examples of the global batch      V  views of one example      C  colour channels
  N  patches of a view                 K  patches kept by a mask    D  width of a representation
  P  prototypes                        H, W  height and width in pixels

A `Batch` maps names to arrays:
  image     uint8  [B, S, S, 3]  the decoded picture in the top left corner of a zero canvas
  size      int32  [B, 2]        its true height and width in pixels
  position  uint32 [B]           place in the global stream of examples: the source of every random choice
  label     int32  [B]           class, -1 where there is none
  label_map uint8  [B, S, S]     class of each pixel, 255 where there is none; only for objectives with `segment`
`Views` maps names to what the objective reads: float32 images [B, H, W, 3] and int32 indices [B, K].
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from flax import struct
import jax

Array = jax.Array
Params = Any  # a pytree of float32 arrays
Batch = Mapping[str, Array]
Views = Mapping[str, Array]


class Aux(NamedTuple):
  """What a loss returns beside its value."""

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


class Objective(Protocol):
  """One paper. Pure functions of their arguments, written for the global batch as if there were one device.

  One that trains a classifier also has `num_classes` and `classify(params, representation [B, D]) -> logits [B, C]`,
  one that makes images `reconstruct(params, images) -> images`, and one that segments `map_classes` and
  `segment(params, images [B, H, W, 3]) -> logits [B, rows, columns, C]`: evaluation then shows what they are worth.
  One whose parameters have learning rates of their own has `scales(params) -> pytree of floats`, of the structure of
  `params`, whose shapes are enough: each multiplies its leaf's updates, and a leaf of 0 stays as it is, bit for bit.
  """

  view: Any  # the recipe of a whole view; evaluation takes `size`, `mean` and `std` from it
  frozen: Any  # shapes and types of the arrays that the loss reads and nothing trains; None where there are none

  def init(self, key: Array) -> tuple[Params, Any]:
    """Returns (params, model_state)."""

  def views(self, key: Array, batch: Batch) -> Views:
    """Cuts the views and draws the masks of a batch, each from a key folded from its example's position."""

  def loss(
    self, params: Params, views: Views, *, key: Array, step: Array, ema_params: Params, model_state: Any, frozen: Any
  ) -> tuple[Array, Aux]:
    """Returns the float32 loss of the global batch and an `Aux`. Reads `ema_params`, never writes them."""

  def encode(self, params: Params, model_state: Any, images: Array, keep_idx: Array | None = None) -> dict[str, Array]:
    """Normalised images [B, H, W, 3] -> {'cls': [B, D], 'patches': [B, N, D]}, for evaluation and export."""


"""The formats for exporting and importing encoders and tokenizers."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from maskrep.weights.formats import (
  ARRAYS,
  FORWARD,
  detectron2,
  extrema,
  facebook_msn,
  hf_vit_msn,
  maskgit_vqgan,
  onnx,
  savedmodel,
  taming_vqgan,
  timm_cait,
  timm_vit,
  torchvision_resnet,
)
from maskrep.weights.names import Arrays
from maskrep.weights.native import NativeFormat
from maskrep.weights.peers import Peer
from maskrep.weights.pretrained import ForeignNetwork, ImportOptions, Pretrained, RunState


class Format(Protocol):
  """A format of arrays: the attributes of its module. `state` is the network's arrays by the other library's names.

  Attributes:
    KINDS: kinds of networks that it can hold.
    SUFFIXES: suffixes of the file that it writes; () if it writes a folder.
    read: (what, path, options) -> the network in a file or folder; `what` is the flag and its value, for errors. None
      if a file could run code.
    from_foreign: (state, config, wanted) -> our arrays, the inverse of `to_foreign`, for those of our names that are
      `wanted`. None if `read` is None.
  """

  @property
  def KINDS(self) -> tuple[str, ...]: ...

  @property
  def SUFFIXES(self) -> tuple[str, ...]: ...

  @property
  def read(self) -> Callable[[str, Path, ImportOptions], ForeignNetwork] | None: ...

  @property
  def from_foreign(self) -> Callable[[Arrays, dict, Iterable[str]], Arrays] | None: ...

  def to_foreign(self, arrays: Arrays, config: dict) -> Arrays:
    """Our arrays -> state."""
    ...

  def write(self, path: Path, state: Arrays, pretrained: Pretrained, run: RunState | None, /) -> Path:
    """Writes a network, with the rest of its run if given; returns the file that contains the arrays."""
    ...

  def peer(self, state: Arrays, config: dict, side: int) -> Peer:
    """The other library's model, for square images of `side` pixels."""
    ...


class ForwardFormat(Protocol):
  """A format that contains the forward pass, for export only: the attributes of its module."""

  @property
  def KINDS(self) -> tuple[str, ...]: ...

  @property
  def SUFFIXES(self) -> tuple[str, ...]: ...

  def export(self, pretrained: Pretrained, size: int, path: Path, /) -> Path:
    """Writes an encoder for square images of `size` pixels; returns the path of the file or folder."""
    ...

  def peer(self, path: Path, /) -> Peer:
    """The written file or folder, run by the other library."""
    ...


FORMATS: Mapping[str, Format] = dict(zip(ARRAYS, (
  timm_vit, hf_vit_msn, facebook_msn, timm_cait, extrema, torchvision_resnet, detectron2, taming_vqgan,
  maskgit_vqgan, NativeFormat('safetensors'), NativeFormat('npz')), strict=True))
FORWARD_FORMATS: Mapping[str, ForwardFormat] = dict(zip(FORWARD, (savedmodel, onnx), strict=True))

"""The formats that encoders and tokenizers are exported to and imported from."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from maskrep.weights.formats import (
  detectron2_resnet,
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
from maskrep.weights.native import Own
from maskrep.weights.peers import Peer
from maskrep.weights.pretrained import Asked, Found, Pretrained, Run


class Format(Protocol):
  """What a module of a format has. `state` is the network's arrays by the other library's names."""

  KINDS: tuple[str, ...]  # of networks that it can hold
  SUFFIXES: tuple[str, ...]  # of the file that it writes; () where it writes a folder

  def to_foreign(self, arrays: Arrays, config: dict) -> Arrays:
    """Our arrays -> state."""

  def from_foreign(self, state: Arrays, config: dict, wanted: Iterable[str]) -> Arrays:
    """The inverse, of the `wanted` of our names."""

  def read(self, what: str, path: Path, asked: Asked) -> Found:
    """The network in a file or folder, and its sizes.

    `what` is the flag and its value, for errors. None in place of the function where a file could run code.
    """

  def write(self, path: Path, state: Arrays, pretrained: Pretrained, run: Run | None) -> Path:
    """Writes it, with the rest of a run where one is given; returns the file that holds the arrays."""

  def peer(self, state: Arrays, config: dict, side: int) -> Peer:
    """The other library's model of square images."""


class Program(Protocol):
  """What a module of a format has that holds what is computed, and goes out only."""

  KINDS: tuple[str, ...]
  SUFFIXES: tuple[str, ...]

  def export(self, encode: Callable, size: int, path: Path) -> Path:
    """Writes a function of images of this size; returns the file, or one of the folder."""

  def peer(self, path: Path) -> Peer:
    """What was written there, run by the other library."""


FORMATS: dict[str, Format] = {
  'timm': timm_vit,
  'hf_msn': hf_vit_msn,
  'msn': facebook_msn,
  'timm_cait': timm_cait,
  'extrema': extrema,
  'torchvision': torchvision_resnet,
  'detectron2': detectron2_resnet,
  'taming': taming_vqgan,
  'maskgit': maskgit_vqgan,
  'safetensors': Own('safetensors'),
  'npz': Own('npz'),
}
PROGRAMS: dict[str, Program] = {'saved_model': savedmodel, 'onnx': onnx}

"""Writes a PyTorch state dict of the network alone, in safetensors."""

from collections.abc import Callable
from pathlib import Path

from maskrep.weights import files
from maskrep.weights.pretrained import encoder_only


def writer(flag: str) -> Callable:
  """The function `write` of the format `flag`; see table.py."""

  def write(path, state, pretrained, run) -> Path:
    encoder_only(flag, run)
    files.write_safetensors(path, state, {'format': 'pt'})
    return path

  return write

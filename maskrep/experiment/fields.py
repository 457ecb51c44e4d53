"""The fields of a config in words: value, type and range."""

from collections.abc import Mapping
from typing import Any

from flax.traverse_util import flatten_dict

from maskrep.experiment.experiment import Experiment
from maskrep.schema import Reader, describe_field


def annotations(config: dict[str, Any]) -> dict[str, Any]:
  """The annotations of the fields of a training config, by their dotted names.

  Raises:
    ConfigError: the config is not valid.
  """
  read = Reader(config)
  Experiment.read(config, read)
  return read.annotations


def described(config: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
  """Dotted name -> value and meaning of each field; the type of one that is not `known` is that of its value."""
  return {name: (repr(value), describe_field(known.get(name, _type(value))))
          for name, value in flatten_dict(config, sep='.').items()}


def _type(value: Any) -> Any:
  return tuple[type(value[0]) if value else str, ...] if isinstance(value, tuple) else type(value)

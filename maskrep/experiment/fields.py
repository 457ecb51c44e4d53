"""The fields of a config in words: value, type and range."""

from collections.abc import Mapping
import copy
from pathlib import Path
from typing import Any

from flax.traverse_util import flatten_dict

from maskrep.data.datasets import Data
from maskrep.evaluation.encoding import Encoding
from maskrep.evaluation.protocols.table import PROTOCOLS
from maskrep.experiment import probe, vtab
from maskrep.experiment.experiment import Experiment
from maskrep.models.vit import ViT
from maskrep.schema import NonNegativeInt, Positive, Reader, describe_field
from maskrep.weights.pretrained import IMAGENET, Pretrained, described


def of_training(config: dict[str, Any]) -> Reader:
  """The reader of a training config, which holds the annotations of its fields and the classes of its sections.

  Raises:
    ConfigError: the config is not valid.
  """
  read = Reader(config)
  Experiment.read(config, read)
  return read


def of_evaluation(config: Mapping[str, Any]) -> Reader:
  """As `of_training`, for the config of an evaluation."""
  protocol = config['protocol']
  if protocol not in PROTOCOLS:
    read = of_training(_filled(config))
    read.annotations |= {'protocol': str, 'learning_rates': tuple[Positive, ...],
                         'seeds': tuple[NonNegativeInt, ...], 'lists': tuple[str, ...]}
    if protocol == vtab.PROTOCOL:
      own = Reader(config)
      own(vtab.PROTOCOL, vtab.Candidates)
      read.annotations, read.sections = read.annotations | own.annotations, read.sections | own.sections
    return read
  read = Reader(config)
  read.value('protocol', str)
  read.value('seed', NonNegativeInt)
  read('data', Data)
  read('encoding', Encoding)
  read(protocol, PROTOCOLS[protocol].options)
  _ = read.dtype
  read.finish()
  return read


def in_words(config: Mapping[str, Any], annotations: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
  """Dotted name -> value and meaning of each field; a field without annotation is described by its value's type."""
  return {name: (repr(value), describe_field(annotations.get(name, _type(value))))
          for name, value in flatten_dict(config, sep='.').items()}


def _filled(config: Mapping[str, Any]) -> dict[str, Any]:
  """The training config of a protocol that trains, filled in for an encoder of the size of a ViT-B/16."""
  kind, sizes = described(ViT(patch_size=16, width=768, depth=12, heads=12, image_size=IMAGENET.size))
  encoder = Pretrained(kind=kind, config=sizes, arrays={}, preprocessing=IMAGENET, source={})
  config = copy.deepcopy(dict(config))
  if 'regularisation' in config:
    config['regularisation']['num_classes'] = config['regularisation']['num_classes'] or 1000
  experiment, *_ = probe.experiments(config, Path(), encoder, config['data'])
  return experiment.config


def _type(value: Any) -> Any:
  return tuple[type(value[0]) if value else str, ...] if isinstance(value, tuple) else type(value)

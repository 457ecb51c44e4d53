"""The section `eval` of a config: the evaluations of a run, during training and at its end."""

from collections.abc import Mapping
import dataclasses
from typing import Annotated, Any

from maskrep.errors import ConfigError
from maskrep.evaluation.protocols.table import BASELINES, PROTOCOLS
from maskrep.schema import Count, OneOf, Range, Reader, check


@dataclasses.dataclass(frozen=True, kw_only=True)
class Eval:
  """The evaluations of a run.

  Attributes:
    every_steps: steps between evaluations of the EMA encoder; the last step is always evaluated.
    batch_size: images encoded at once, over all devices.
    crop_fraction: the central part of the shorter side that the encoder sees (0.875 is 224 of 256).
    max_train_examples: examples of the training split that protocols use, drawn once.
    protocols: the protocols to run, of `PROTOCOLS`: cheap ones (`Protocol.in_training`) at every evaluation, all at the
      end of the run. Those that need something the data lack, such as labels, are left out.
    baselines: evaluated beside the trained encoder at the end, of 'pixels' and 'untrained'.
    options: protocol -> its options, read from the section of that name; there may be more than `protocols` names.
  """

  every_steps: Count
  batch_size: Count
  crop_fraction: Annotated[float, Range(0, 1, above=True)]
  max_train_examples: Count
  protocols: tuple[Annotated[str, OneOf(PROTOCOLS)], ...]
  baselines: tuple[Annotated[str, OneOf(BASELINES)], ...]
  options: Mapping[str, Any]

  __post_init__ = check

  @classmethod
  def read(cls, read: Reader) -> 'Eval':
    """The section, with the sections of its protocols.

    Raises:
      ConfigError: a field is wrong, or the section of a protocol is missing.
    """
    fields = read.section('eval')
    sections = {name: fields.pop(name) for name in PROTOCOLS if isinstance(fields.get(name), Mapping)}
    options = {name: read.build(f'eval.{name}', PROTOCOLS[name].options, section)
               for name, section in sections.items()}
    options = {name: each.defaults for name, each in PROTOCOLS.items() if each.defaults} | options
    found = read.build('eval', cls, fields, options=options)
    if missing := [name for name in found.protocols if name not in options]:
      raise ConfigError(f'config.eval.{missing[0]}: is missing, and config.eval.protocols names it; add the section to '
                        f'the config file, as configs/evaluation/{missing[0]}.py has it')
    return found

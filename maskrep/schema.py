"""Parses sections of a config into checked objects. A field's type and range come from its annotation.

A range is part of the type, as in `ratio: Share`. Dataclasses and modules check themselves: `__post_init__` calls
`check`, which raises a ValueError with field, value and remedy; whoever read the value prefixes its path.
"""

from collections.abc import Iterable, Mapping
import dataclasses
import difflib
import functools
import math
import typing
from typing import Annotated, Any, TypeVar

from flax import linen as nn
import jax
import jax.numpy as jnp

from maskrep.errors import ConfigError
from maskrep.process.paths import ON_THIS_MACHINE
from maskrep.types import Dataclass

DTYPES = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}
WORDS = {1: 'one', 2: 'two', 3: 'three', 4: 'four'}
Built = TypeVar('Built', bound=Dataclass)


@dataclasses.dataclass(frozen=True)
class Range:
  """Finite numbers from `low` to `high`; `above` excludes the lower end, `below` the upper one."""

  low: float
  high: float = math.inf
  above: bool = False
  below: bool = False
  example: str = ''

  def __contains__(self, value: float) -> bool:
    return self.low <= value <= self.high and -math.inf < value < math.inf and not (
      (self.above and value == self.low) or (self.below and value == self.high))

  def __str__(self) -> str:
    example = f', for example {self.example}' if self.example else ''
    if self.high == math.inf:
      return f'{"above" if self.above else "at least"} {self.low:g}{example}'
    return f'in {"(" if self.above else "["}{self.low:g}, {self.high:g}{")" if self.below else "]"}{example}'


@dataclasses.dataclass(frozen=True)
class Rising:
  """Two finite numbers, the second not below the first, above 0 and at most `high`."""

  high: float
  example: str

  def __contains__(self, value: tuple[float, float]) -> bool:
    low, high = value
    return 0 < low <= high <= self.high and math.isfinite(high)

  def __str__(self) -> str:
    return f'rising within (0, {self.high:g}], for example {self.example}'


@dataclasses.dataclass(frozen=True)
class OneOf:
  """One of the given names or numbers."""

  names: Iterable[str | int]

  def __contains__(self, value: str | int) -> bool:
    return value in tuple(self.names)

  def __str__(self) -> str:
    return f'one of {", ".join(map(str, self.names))}'


@dataclasses.dataclass(frozen=True)
class NotEmpty:
  """At least one value."""

  example: str

  def __contains__(self, value: tuple) -> bool:
    return len(value) > 0

  def __str__(self) -> str:
    return f'at least one value, for example {self.example}'


Share = Annotated[float, Range(0, 1, below=True, example='0.3')]
Probability = Annotated[float, Range(0, 1)]
Positive = Annotated[float, Range(0, above=True)]
NonNegative = Annotated[float, Range(0)]
Count = Annotated[int, Range(1)]
NonNegativeInt = Annotated[int, Range(0)]
Scale = Annotated[tuple[float, float], Rising(1, '(0.3, 1.0)')]  # shares of an area
Colours = tuple[float, float, float]
Deviations = tuple[Positive, Positive, Positive]
LocalPath = Annotated[str, ON_THIS_MACHINE]
Dtype = Annotated[str, OneOf(('auto', *DTYPES))]


def dtype_of(name: str) -> jnp.dtype:
  """A `Dtype` by its name; 'auto' is bfloat16 on an accelerator and float32 on a CPU, whose bfloat16 is slow."""
  if name == 'auto':
    return jnp.float32 if jax.default_backend() == 'cpu' else jnp.bfloat16
  return DTYPES[name]


def check(instance: Any) -> None:
  """Compares each field of a dataclass or module with the range in its type. Called by `__post_init__`.

  Raises:
    ValueError: for the first field out of range, as 'field=value: must be ...'.
  """
  for name, annotation in _annotations(type(instance)).items():
    value = getattr(instance, name)
    if problem := _outside(value, annotation):
      raise ValueError(f'{name}={value!r}: {problem}')


def check_module(self: nn.Module) -> None:
  """`check`, to be used as the `__post_init__` of a Flax module."""
  check(self)
  nn.Module.__post_init__(self)


def build(cls: type[Built], fields: Mapping[str, Any], path: str, **given: Any) -> Built:
  """`cls(**fields, **given)`, with each of `fields` checked.

  Args:
    path: where the fields come from, as 'config.views', for errors.

  Raises:
    ConfigError: a field is unknown to `cls`, missing, of another type or out of range.
  """
  annotations = _annotations(cls)
  known = {field.name for field in dataclasses.fields(cls) if field.init} - {'parent', 'name'} - given.keys()
  for key, value in fields.items():
    if key not in known:
      raise ConfigError(f'{path}.{key}={value!r}: nothing reads this field; {_nearest(key, known, f"{path}.")}')
    if not _is_of(value, annotations[key]):
      several = isinstance(value, tuple) and typing.get_origin(_base(annotations[key])) is tuple
      wrong = '' if several else f', not {type(value).__name__}'
      raise ConfigError(f'{path}.{key}={value!r}: must be {describe_type(annotations[key])}{wrong}')
  required = {field.name for field in dataclasses.fields(cls)
              if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING}
  if missing := sorted((required & known) - set(fields)):
    raise ConfigError(f'{path}.{missing[0]}: is missing; add it to the config file')
  try:
    return cls(**fields, **given)
  except ValueError as error:
    raise ConfigError(f'{path}.{error}') from error


class Reader:
  """Reads a config: each section once, into a checked object.

  `read('views', View)` builds the object of a section; `read['views']` returns it again, for a section that depends on
  another. `finish` refuses fields that nothing has read. Of everything read so far, `annotations` maps the dotted names
  of fields to their annotations, and `sections` the names of sections to their classes.
  """

  def __init__(self, config: Mapping[str, Any]):
    self._config = {name: dict(value) if isinstance(value, Mapping) else value
                    for name, value in dict(config).items()}
    self._objects, self._fields = {}, []
    self.annotations: dict[str, Any] = {}
    self.sections: dict[str, type] = {}

  def __call__(self, name: str, cls: type[Built], **given: Any) -> Built:
    """The object of a section, see `build`."""
    return self.build(name, cls, self.section(name), **given)

  def build(self, name: str, cls: type[Built], fields: Mapping[str, Any], **given: Any) -> Built:
    """The object of a section, from `fields` obtained by `section`."""
    built = self._objects[name] = build(cls, fields, f'config.{name}', **given)
    self.annotations |= {f'{name}.{field}': _annotations(cls)[field] for field in fields}
    self.sections[name] = cls
    return built

  def __contains__(self, name: str) -> bool:
    self._fields.append(name)
    return name in self._config

  def __getitem__(self, name: str):
    return self._objects[name]

  def section(self, name: str) -> dict[str, Any]:
    """The fields of a section, for a caller that chooses the class by one of them.

    Raises:
      ConfigError: there is no such section.
    """
    fields = self._field(name)
    if not isinstance(fields, dict):
      raise ConfigError(f'config.{name}={fields!r}: must be a section')
    return dict(fields)

  def value(self, name: str, annotation: Any) -> Any:
    """The value of a field outside of all sections.

    Raises:
      ConfigError: it is missing, of another type or out of range.
    """
    value = self._field(name)
    problem = _outside(value, annotation) if _is_of(value, annotation) else f'must be {describe_type(annotation)}'
    if problem:
      raise ConfigError(f'config.{name}={value!r}: {problem}')
    self.annotations[name] = annotation
    return value

  @functools.cached_property
  def dtype(self) -> jnp.dtype:
    """The dtype of the computation, see `dtype_of`."""
    return dtype_of(self.value('compute_dtype', Dtype))

  def finish(self) -> None:
    """Raises ConfigError for a section or field that nothing has read, with the nearest name that was read."""
    for name, value in self._config.items():
      if name not in self._fields:
        shown = '' if isinstance(value, dict) else f'={value!r}'
        raise ConfigError(f'config.{name}{shown}: nothing reads this field; {_nearest(name, self._fields, "")}')

  def _field(self, name: str) -> Any:
    self._fields.append(name)
    if name not in self._config:
      near = difflib.get_close_matches(name, self._config.keys() - set(self._fields), 1)
      hint = f'is {near[0]} misspelt?' if near else 'add it to the config file'
      raise ConfigError(f'config.{name}: is missing; {hint}')
    return self._config[name]


def describe_field(annotation: Any) -> str:
  """A type with its range: 'a number, in [0, 1]'."""
  if typing.get_origin(annotation) is Annotated:
    base, *ranges = typing.get_args(annotation)
    return ', '.join([describe_field(base), *map(str, ranges)])
  items = typing.get_args(annotation) if typing.get_origin(annotation) is tuple else ()
  each = describe_field(items[0]).partition(', ')[2] if items else ''
  return describe_type(annotation) + (f', each {each}' if each else '')


def describe_type(annotation: Any) -> str:
  """A type in words: 'two numbers, as (0.3, 1.0)'."""
  base = _base(annotation)
  if typing.get_origin(base) is not tuple:
    return {int: 'a whole number', float: 'a number', bool: 'true or false', str: 'text'}[base]
  items = typing.get_args(base)
  one = describe_type(items[0]).removeprefix('a ')
  if items[-1] is Ellipsis:
    return f'a tuple of {"texts" if one == "text" else f"{one}s"}'
  example = next((getattr(each, 'example', '') for each in getattr(annotation, '__metadata__', ())), '')
  example = example or f'({", ".join(["0.5" if _base(items[0]) is float else "1"] * len(items))})'
  return f'{WORDS[len(items)]} {one}s, as {example}'


@functools.cache
def _annotations(cls) -> dict[str, Any]:
  """Annotations of the fields of a dataclass, with their ranges."""
  names = {field.name for field in dataclasses.fields(cls)}
  return {name: hint for name, hint in typing.get_type_hints(cls, include_extras=True).items() if name in names}


def _base(annotation: Any) -> Any:
  return typing.get_args(annotation)[0] if typing.get_origin(annotation) is Annotated else annotation


def _outside(value: Any, annotation: Any) -> str:
  """The range that a value of the right type is outside of, as 'must be in [0, 1]'; '' if it is in range."""
  if typing.get_origin(annotation) is Annotated:
    base, *ranges = typing.get_args(annotation)
    finite = 'finite and ' if isinstance(value, float) and not math.isfinite(value) else ''
    problems = (f'must be {finite}{allowed}' for allowed in ranges if value not in allowed)
    return next(problems, '') or _outside(value, base)
  if typing.get_origin(annotation) is tuple and isinstance(value, tuple):
    items = typing.get_args(annotation)
    each = items[:1] * len(value) if items[-1] is Ellipsis else items
    problems = (_outside(item, kind) for item, kind in zip(value, each, strict=True))
    return next((f'each {problem}' for problem in problems if problem), '')
  return ''


def _is_of(value: Any, annotation: Any) -> bool:
  base = _base(annotation)
  if base in (int, float):
    return isinstance(value, (int, float) if base is float else int) and not isinstance(value, bool)
  if typing.get_origin(base) is tuple:
    items = typing.get_args(base)
    if not isinstance(value, tuple):
      return False
    if items[-1] is Ellipsis:
      return all(_is_of(item, items[0]) for item in value)
    return len(value) == len(items) and all(map(_is_of, value, items))
  return isinstance(value, base)


def _nearest(name: str, known: Iterable[str], prefix: str) -> str:
  near = difflib.get_close_matches(name, known, 1)
  return f'did you mean {prefix}{near[0]}?' if near else f'the fields are {", ".join(sorted(set(known)))}'

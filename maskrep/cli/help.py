"""The help of a command: its purpose, flags, examples and exit codes and, with --config, every field of the config."""

from collections.abc import Callable, Mapping
import dataclasses
import textwrap
from typing import Any

from absl import flags
from ml_collections import config_flags

WIDTH, LONG = 100, 40  # characters of a line, and of a list of values
# Placeholders for the values of text flags.
VALUES = {
  'config': 'NAME|FILE', 'workdir': 'DIR', 'output': 'PATH', 'html': 'PATH', 'input': 'PATH', 'images': 'FILE,FILE',
  'coordinator': 'HOST:PORT', 'grid': 'FIELD=VALUE,VALUE', 'allow_config_change': 'FIELD,FIELD',
}
FLAGS = {'-h', '--help'}
EXIT_CODES = {
  0: 'done', 1: 'failed', 2: 'a flag, a config or the data do not fit; nothing was started',
  3: 'the data cannot be read', 4: 'the workdir or its checkpoints cannot be read or written',
  5: 'loss or gradient are not finite', 6: 'another process of the run is lost',
  75: 'stopped by a signal, and saved; run the same command to go on',
}


class Asked(Exception):
  """Help was requested; the message is its text."""

  def __init__(self, text: str, exit_code: int):
    super().__init__(text)
    self.exit_code = exit_code


@dataclasses.dataclass(frozen=True, kw_only=True)
class Page:
  """The help page of a command.

  Attributes:
    usage: the command and its arguments, as 'maskrep evaluate PROTOCOL --workdir=DIR'.
    doc: its purpose; None if Python runs without docstrings.
    examples: command lines.
    define: adds its flags to values; called with the values and the command line.
    choices: values of the word in capitals in `usage`, such as PROTOCOL: name -> its meaning.
    fields: maps a config to the annotations of its fields by dotted name, if the command has the flag --config.
    bucket: whether --workdir may be in a bucket.
  """

  usage: str
  doc: str | None
  examples: tuple[str, ...]
  define: Callable[[flags.FlagValues, list[str]], None] = lambda values, argv: None
  choices: Mapping[str, str] = dataclasses.field(default_factory=dict)
  fields: Callable[[dict[str, Any]], dict[str, Any]] = lambda config: {}
  bucket: bool = False

  def text(self, argv: list[str]) -> str:
    values = flags.FlagValues()
    self.define(values, argv)
    parts = [f'usage: {self.usage}', *([self.doc.strip()] if self.doc else ())]
    if self.choices:
      parts.append(_titled(next(word for word in self.usage.split() if word.isupper()), self.choices))
    if len(values):
      parts.append(_titled('flags', dict(_flag(values[name]) for name in values)))
    parts.append('examples:\n' + '\n'.join(f'  {example}' for example in self.examples))
    parts.append(_titled('exit codes', {str(code): meaning for code, meaning in EXIT_CODES.items()}))
    return '\n\n'.join(parts)

  def config_text(self, values: flags.FlagValues) -> str:
    """Every field of the config with its value, type and range."""
    from maskrep.experiment.fields import in_words

    config = values.config.to_dict()
    title = f'fields of {config_flags.get_config_filename(values["config"])}, to be changed by --config.FIELD=VALUE'
    return _titled(title, {f'{name}={value}': meaning for name, (value, meaning) in in_words(
      config, self.fields(config)).items()}, longest=48)


def _flag(flag: flags.Flag) -> tuple[str, str]:
  """A flag with a placeholder for its value, and its meaning."""
  kind, meaning = flag.flag_type(), flag.help
  names = '|'.join(getattr(flag.parser, 'enum_values', ()))
  value = VALUES.get(flag.name, 'N' if kind in ('int', 'float') else 'TEXT')
  if names:  # absl puts them before the help
    value, meaning = (names, '') if len(names) < LONG else (flag.name.upper(), f'One of {names.replace("|", ", ")}. ')
    meaning += flag.help.removeprefix(f'<{names}>: ')
  meaning = meaning.split(';\n    repeat')[0]
  if flag.default not in (None, [], '', False):
    meaning += f' Default: {flag.default}.'
  return f'--{flag.name}' + ('' if kind == 'bool' else f'={value}'), meaning


def _titled(title: str, rows: Mapping[str, str], longest: int = 28) -> str:
  left = min(longest, max(len(name) for name in rows))
  lines = [f'{title}:']
  for name, meaning in rows.items():
    wrapped = textwrap.wrap(meaning, WIDTH - left - 4, break_on_hyphens=False) or ['']
    if len(name) > left:
      lines.append(f'  {name}')
    else:
      lines.append(f'  {name:<{left}}  {wrapped.pop(0)}')
    lines += [f'  {"":<{left}}  {line}' for line in wrapped]
  return '\n'.join(lines)


def training_fields(config: dict[str, Any]) -> dict[str, Any]:
  """`Page.fields` of a training config."""
  from maskrep.experiment.fields import of_training

  return of_training(config).annotations


def evaluation_fields(config: dict[str, Any]) -> dict[str, Any]:
  """`Page.fields` of the config of an evaluation."""
  from maskrep.experiment.fields import of_evaluation

  return of_evaluation(config).annotations

"""Writes the generated pages of the site: the fields of every packaged config, and the help of every command."""

from collections.abc import Iterable, Mapping
import contextlib
import importlib
import inspect
import io
from pathlib import Path
import re
from typing import Any, NamedTuple

from flax.traverse_util import flatten_dict

from maskrep.cli import commands
from maskrep.configs.base import small
from maskrep.experiment import config_file, fields
from maskrep.schema import describe_field

# Fields that no section's class documents.
MEANINGS = {
  'method': 'the method: a module of `maskrep.methods`, or the dotted name of a module of your own.',
  'protocol': 'the protocol of the evaluation.',
  'seed': 'seed of all random choices.',
  'batch_size': 'images per step, over all devices.',
  'compute_dtype': "dtype of the computation; 'auto' is bfloat16 on an accelerator and float32 on a CPU.",
  'learning_rates': 'learning rates that are tried, with one training run each.',
  'seeds': 'seeds that are tried with each learning rate.',
  'lists': 'files of names of training images, or patterns (with *) of them; one training run each, and the mean.',
  'encoder.kind': 'the kind of encoder; it decides which other fields the section has.',
}
TITLES = {
  'msn': 'MSN', 'extrema': 'ExtreMA', 'mscn': 'MSCN', 'mim': 'Supervised + MIM', 'vqgan': 'Tokenizers (VQGAN)',
  'classify': 'Linear, partial and fine-tuning', 'segment': 'Segmentation', 'protocols': 'Protocols on frozen features',
}
MOST_VARIANTS = 3
INTRODUCTION = """\
Change a field with `--config.FIELD=VALUE`. Each entry gives the type and range of a field, its meaning, and its value:
first the most common one, then the others with the configs that have them.
"""


class Field(NamedTuple):
  """A field of the configs of a page.

  Attributes:
    meaning: from the docstring of its section's class.
    kind: its type and range.
    values: name of a config -> the value of the field.
  """

  meaning: str
  kind: str
  values: dict[str, Any]


def packaged() -> dict[str, dict[str, Any]]:
  """Every packaged config with all variants, as plain data: 'msn_folder:small' -> {'method': 'msn', ...}."""
  found = {}
  for folder in '', 'evaluation':
    for name in config_file.names((folder,)):
      for variant in _variants('.'.join(filter(None, ['maskrep.configs', folder, name]))):
        each = f'{name}:{variant}' if variant else name
        found[each] = config_file.load(each, (folder,)).to_dict()
  return found


def _variants(module_name: str) -> tuple[str, ...]:
  """The values of the argument of a config's `get_config`; ('',) if it has none."""
  variants = small.VARIANTS if module_name.endswith('_folder') else ('',)
  return getattr(importlib.import_module(module_name), 'VARIANTS', variants)


def page_of(config: Mapping[str, Any]) -> str:
  """The page of `TITLES` that a config is on."""
  return config.get('method', 'protocols')


def documented(cls: type) -> dict[str, str]:
  """Field -> text of the section "Attributes" of a class's docstring and those of its bases."""
  found = {}
  for base in reversed(cls.__mro__):
    _, _, attributes = inspect.cleandoc(vars(base).get('__doc__') or '').partition('Attributes:\n')
    for names, text in re.findall(r'^  ([\w, ]+): (.+(?:\n    .+)*)', attributes, re.M):
      found |= dict.fromkeys(names.split(', '), ' '.join(text.split()))
  return found


def read_fields(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, Field]:
  """The fields of some configs, by their dotted names.

  Raises:
    KeyError: a field has no meaning; write it into the docstring of its section's class.
  """
  found: dict[str, Field] = {}
  for config_name, config in configs.items():
    read = fields.of_evaluation(config) if 'protocol' in config else fields.of_training(dict(config))
    for name, value in flatten_dict(config, sep='.').items():
      if name not in found:
        section, _, last = name.rpartition('.')
        meaning = MEANINGS[name] if name in MEANINGS else documented(read.sections[section])[last]
        found[name] = Field(meaning, describe_field(read.annotations[name]), {})
      found[name].values[config_name] = value
  return found


def value_text(value: Any) -> str:
  """A value as a command line takes it, with six digits."""
  if isinstance(value, tuple):
    return f'({", ".join(map(value_text, value))}{"," if len(value) == 1 else ""})'
  return f'{value:.6g}' if isinstance(value, float) and value != int(value) else repr(value)


def values_text(values: Mapping[str, Any], configs: Mapping[str, Any]) -> str:
  """'`0.3`; `0.15` in `msn_vits16`': the most common value, then the others with their configs."""
  by_value: dict[str, list[str]] = {}
  for name, value in values.items():
    by_value.setdefault(f'`{value_text(value)}`', []).append(name)
  (common, names), *others = sorted(by_value.items(), key=lambda item: -len(item[1]))
  first = common if len(values) == len(configs) and len(names) > 1 else f'{common} in {_listed(names)}'
  return '; '.join([first, *(f'{value} in {_listed(names)}' for value, names in others)])


def _listed(names: Iterable[str]) -> str:
  """Names of configs; more than `MOST_VARIANTS` of one config are counted."""
  variants: dict[str, list[str]] = {}
  for name in names:
    variants.setdefault(name.partition(':')[0], []).append(f'`{name}`')
  return ', '.join(f'{len(each)} variants of `{config}`' if len(each) > MOST_VARIANTS else ', '.join(each)
                   for config, each in variants.items())


def fields_page(title: str, configs: Mapping[str, Mapping[str, Any]]) -> str:
  """The Markdown page of configs that share their fields."""
  lines = [f'# {title}', INTRODUCTION, f'Configs: {_listed(configs)}.']
  sections: dict[str, list[str]] = {}
  for name, field in read_fields(configs).items():
    section = name.rpartition('.')[0] or 'Top level'
    sections.setdefault(section, []).append(
      f'`{name}`, {field.kind}\n: {field.meaning[0].upper()}{field.meaning[1:].rstrip(".")}.\n'
      f': {values_text(field.values, configs)}')
  for section, entries in sections.items():
    lines += [f'## {section}', *entries]
  return '\n\n'.join(lines) + '\n'


def commands_page() -> str:
  """The Markdown page of the help of all commands."""
  lines = ['# Commands', 'The output of `maskrep --help` and of `maskrep COMMAND --help`.']
  for name in '', *commands.COMMANDS:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
      commands.main(['maskrep', *filter(None, [name]), '--help'])
    lines += [f'## {f"maskrep {name}".strip()}', f'```text\n{printed.getvalue().rstrip()}\n```']
  return '\n\n'.join(lines) + '\n'


def pages() -> dict[str, str]:
  """File name -> text of all generated pages."""
  configs = packaged()
  found = {'commands.md': commands_page()}
  for page, title in TITLES.items():
    found[f'fields_{page}.md'] = fields_page(
      title, {name: config for name, config in configs.items() if page_of(config) == page})
  return found


def write(folder: Path) -> None:
  """Writes the pages that have changed, so that Sphinx reads only these again."""
  folder.mkdir(exist_ok=True)
  for name, text in pages().items():
    path = folder / name
    if not path.exists() or path.read_text() != text:
      path.write_text(text)

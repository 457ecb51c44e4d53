"""The generated reference of config fields is complete, true to the configs, and has a meaning for each field."""

import importlib.util
from pathlib import Path
import re

from flax.traverse_util import flatten_dict
import pytest

from maskrep.cli import commands
from maskrep.experiment import config_file

FILE = Path(__file__).parent.parent.parent / 'docs' / 'generate.py'


@pytest.fixture(scope='module')
def generate():
  spec = importlib.util.spec_from_file_location('generate', FILE)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.fixture(scope='module')
def pages(generate):
  return generate.pages()


def entries(page: str) -> dict[str, tuple[str, ...]]:
  """Field -> type and range, meaning, values."""
  return {name: tuple(rest) for name, *rest in re.findall(r'^`([\w.]+)`, (.+)\n: (.+)\n: (.+)$', page, re.M)}


def test_every_field_of_every_packaged_config(generate, pages):
  configs = generate.packaged()
  assert {name.partition(':')[0] for name in configs} == set(config_file.names(config_file.EVALUATION))
  assert {'msn_folder:small', 'mscn_ablation:figure1_grid'} <= configs.keys()
  found = {page: entries(pages[f'fields_{page}.md']) for page in generate.TITLES}
  for name, config in configs.items():
    page = found[generate.page_of(config)]
    for field, value in flatten_dict(config, sep='.').items():
      kind, meaning, values = page[field]
      assert kind and len(meaning.split()) > 1 and f'`{generate.value_text(value)}`' in values, (name, field)


def test_an_entry_is_what_the_types_and_the_docstrings_have(pages):
  kind, meaning, values = entries(pages['fields_msn.md'])['masking.ratio']
  assert kind == 'a number, in [0, 1), for example 0.3'
  assert meaning == 'Share of the patches that a masked view drops.'
  assert values.startswith('`0.3`; `0.') and re.search('`0.7` in [^;]*`msn_vitb4`', values)
  mask = entries(pages['fields_protocols.md'])['lowshot_masked.draws']  # documented by the class that it extends
  assert mask[1] == 'Number of draws.'


def test_a_field_without_a_meaning_is_refused(generate, monkeypatch):
  monkeypatch.setattr(generate, 'documented', lambda cls: {})
  with pytest.raises(KeyError, match='canvas'):
    generate.read_fields({'knn': generate.packaged()['knn']})


def test_help_of_every_command(pages):
  titles = re.findall(r'^## (.+)$', pages['commands.md'], re.M)
  assert titles == ['maskrep', *(f'maskrep {name}' for name in commands.COMMANDS)]
  assert all(f'\nusage: {title}' in pages['commands.md'] for title in titles)


def test_only_changed_pages_are_written(generate, pages, tmp_path, monkeypatch):
  monkeypatch.setattr(generate, 'pages', lambda: {'a.md': 'new', 'b.md': 'same'})
  (tmp_path / 'a.md').write_text('old')
  (tmp_path / 'b.md').write_text('same')
  before = (tmp_path / 'b.md').stat().st_mtime_ns
  generate.write(tmp_path)
  assert (tmp_path / 'a.md').read_text() == 'new' and (tmp_path / 'b.md').stat().st_mtime_ns == before

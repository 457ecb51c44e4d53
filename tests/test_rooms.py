"""Imports point downwards, and each room knows only the libraries that are its business."""

import ast
import importlib
import importlib.util
from pathlib import Path

import pytest

pytestmark = pytest.mark.quick

ROOT = Path(__file__).parent.parent / 'maskrep'
FLOORS = {
  'configs': 0, 'errors': 0, 'types': 0, 'rng': 0, 'schema': 0, 'jax_internals': 0, 'compiled_for': 0, 'process': 0,
  'devices': 1, 'workdir': 1, 'data': 1,
  'augment': 2, 'masking': 3, 'models': 3,
  'methods': 4, 'train': 4,
  'weights': 5, 'show': 5,
  'evaluation': 6, 'experiment': 7, 'sweep': 8, 'embedding': 8, 'api': 9, 'page': 9, 'cli': 10, '__main__': 11,
}
FORBIDDEN = {
  'data': {'jax', 'flax', 'optax', 'orbax', 'tensorflow', 'torch'},
  'methods': {'optax', 'orbax', 'clu', 'absl', 'tensorflow'},
  'models': {'optax', 'orbax', 'clu', 'absl', 'tensorflow', 'torch'},
}
FILES = sorted(path for path in ROOT.rglob('*.py') if path.name != '__init__.py')


def room(path: Path) -> str:
  return path.relative_to(ROOT).parts[0].removesuffix('.py')


def imported(path: Path) -> set[str]:
  """Dotted names of all modules a file imports, in functions too."""
  names = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      names |= {f'{node.module}.{alias.name}' for alias in node.names} if node.module == 'maskrep' else {node.module}
  return names


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
  mine = room(path)
  for name in imported(path):
    parts = name.split('.')
    assert parts[0] not in FORBIDDEN.get(mine, ()), f'{path.name} imports {name}'
    if parts[0] == 'maskrep' and parts[1] != mine:
      lower = FLOORS[parts[1]] < FLOORS[mine] or FLOORS[mine] == FLOORS[parts[1]] == 0
      assert lower, f'{mine} (floor {FLOORS[mine]}) imports {name} (floor {FLOORS[parts[1]]})'


@pytest.mark.parametrize('path', sorted((ROOT.parent / 'benchmarks').glob('*.py')), ids=lambda path: path.name)
def test_benchmarks_import_what_there_is(path):
  """No test runs them, so nothing else would miss a module that has moved."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.ImportFrom) and node.module.split('.')[0] == 'maskrep':
      for alias in node.names:
        module = importlib.import_module(node.module)
        assert hasattr(module, alias.name) or importlib.util.find_spec(f'{node.module}.{alias.name}'), alias.name


@pytest.mark.parametrize('path', sorted((ROOT / 'configs').glob('**/*.py')), ids=lambda path: path.name)
def test_configs_know_configs_alone(path):
  assert all(name.split('.')[0] == 'ml_collections' or name.startswith('maskrep.configs') for name in imported(path))


def test_no_names_without_meaning():
  assert not [path for path in FILES if path.stem in ('utils', 'helpers', 'common', 'misc')]

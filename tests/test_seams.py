"""The seams that let a method be one file, as far as the text of the source shows them."""

import ast
import functools
from pathlib import Path

import pytest

from tests.long.mutants import MUTANTS

pytestmark = pytest.mark.quick

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / 'maskrep'
FILES = sorted(PACKAGE.rglob('*.py'))
CHECKED = [path for top in ('maskrep', 'configs', 'tests', 'benchmarks', 'docs')
           for path in sorted((ROOT / top).rglob('*.py'))]
ABILITIES = 'Classifies', 'Segments', 'Reconstructs', 'Assigns'
READ_CONFIGS = 'api', 'experiment', 'sweep', 'cli'
MAX_FILE, MAX_FUNCTION = 300, 60  # lines; of a function without its docstring
# 'vqgan' is also a kind of network, beside 'vit' and 'resnet': what a file of weights holds, whatever trained it.
KINDS = {'weights': {'vqgan'}, 'models': {'vqgan'}}


@functools.cache
def parsed(path: Path) -> ast.Module:
  return ast.parse(path.read_text())


def place(path: Path, node: ast.AST) -> str:
  return f'{path.relative_to(ROOT)}:{node.lineno}'


def room(path: Path) -> str:
  return path.relative_to(PACKAGE).parts[0]


def last_name(node: ast.AST | None) -> str:
  """'objective' of `objective`, `run.experiment.objective`, `type(self.objective)` and 'maskrep.types.Objective'."""
  if isinstance(node, ast.Call):
    return last_name(node.args[0]) if node.args else ''
  if isinstance(node, ast.Constant) and isinstance(node.value, str):
    return node.value.rpartition('.')[2]
  return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ''


def objectives(tree: ast.Module) -> set[str]:
  """The names that a file gives to objectives."""
  names = {'objective'}
  for node in ast.walk(tree):
    if isinstance(node, ast.arg) and last_name(node.annotation) == 'Objective':
      names.add(node.arg)
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr) and last_name(node.value) == 'objective':
      names |= {last_name(target) for target in getattr(node, 'targets', None) or [node.target]}
  return names


def test_what_an_objective_has_is_not_asked_by_name():
  """Not by `hasattr` or `getattr`: what all have is in `types.Objective`, the rest is a protocol."""
  found = []
  for path in FILES:
    tree = parsed(path)
    found += [place(path, node) for node in ast.walk(tree)
              if isinstance(node, ast.Call) and last_name(node.func) in ('hasattr', 'getattr') and node.args
              and last_name(node.args[0]) in objectives(tree)]
  assert not found


def test_one_place_asks_what_an_objective_can_do():
  """Nobody else names one of the protocols, so nobody else can ask by `isinstance`, `issubclass` or `match`."""
  named = {path.relative_to(PACKAGE).as_posix() for path in FILES for node in ast.walk(parsed(path))
           if last_name(node) in ABILITIES or isinstance(node, ast.alias) and node.name in ABILITIES}
  assert named == {'evaluation/evaluator.py'}


def methods() -> dict[str, set[str]]:
  """The methods of `maskrep.methods`, and of each the classes that have a loss."""
  found = {}
  for path in (PACKAGE / 'methods').glob('*.py'):
    body = parsed(path).body
    if any(isinstance(node, ast.FunctionDef) and node.name == 'from_config' for node in body):
      found[path.stem] = {node.name for node in body if isinstance(node, ast.ClassDef)
                          and any(isinstance(each, ast.FunctionDef) and each.name == 'loss' for each in node.body)}
  return found


def docstrings(tree: ast.Module) -> set[int]:
  """The ids of the nodes."""
  owners = [node for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]
  return {id(node.body[0].value) for node in owners if node.body and isinstance(node.body[0], ast.Expr)}


def imported(node: ast.AST) -> set[str]:
  """The dotted names of the modules, or of what is in them, that a statement imports."""
  if isinstance(node, ast.Import):
    return {alias.name for alias in node.names}
  if isinstance(node, ast.ImportFrom):
    return {f'{node.module}.{alias.name}' for alias in node.names} | {node.module}
  return set()


def test_no_room_knows_a_method():
  """By import or by name. A file of weights may be that of one paper: those in weights/formats do."""
  known = methods()
  assert known.keys() == {'msn', 'extrema', 'mscn', 'mim', 'classify', 'segment', 'vqgan'} and all(known.values())
  modules = {f'maskrep.methods.{name}' for name in known}
  names = known.keys() | set().union(*known.values())
  found = []
  for path in FILES:
    if room(path) == 'methods' or path.is_relative_to(PACKAGE / 'weights' / 'formats'):
      continue
    tree = parsed(path)
    texts, forbidden = docstrings(tree), names - KINDS.get(room(path), set())
    found += [place(path, node) for node in ast.walk(tree) if modules & imported(node) or (
      isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts
      and node.value.removeprefix('maskrep.methods.') in forbidden)]
  assert not found


def test_no_method_knows_another():
  modules = {f'maskrep.methods.{name}' for name in methods()}
  assert not [place(path, node) for path in FILES if room(path) == 'methods' for node in ast.walk(parsed(path))
              if modules & imported(node)]


def test_configs_end_in_the_experiment():
  """Below it there are only checked objects."""
  assert not [place(path, node) for path in FILES if room(path) not in READ_CONFIGS for node in ast.walk(parsed(path))
              if any(name.partition('.')[0] == 'ml_collections' for name in imported(node))]


UNSTABLE = 'jax._src', 'jax.core', 'jax.extend', 'jax.interpreters', 'jaxlib'


def test_one_file_uses_what_jax_may_change():
  """By import; `jax.core.Jaxpr` and the like as attributes too."""
  found = set()
  for path in FILES:
    for node in ast.walk(parsed(path)):
      names = {ast.unparse(node)} if isinstance(node, ast.Attribute) else imported(node)
      if any(f'{name}.'.startswith(f'{unstable}.') for name in names for unstable in UNSTABLE):
        found.add(path.relative_to(PACKAGE).as_posix())
  assert found == {'jax_internals.py'}


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
  docstring = function.body[0] if ast.get_docstring(function) else None
  return function.end_lineno - function.lineno + 1 - (docstring.end_lineno - docstring.lineno + 1 if docstring else 0)


@pytest.mark.parametrize('top', ['maskrep', 'configs', 'tests', 'benchmarks', 'docs'])
def test_files_and_functions_are_short(top):
  files = [path for path in CHECKED if path.is_relative_to(ROOT / top)]
  assert files
  lines = {path: len(path.read_text().splitlines()) for path in files}
  long = [f'{path.relative_to(ROOT)}: {count} lines' for path, count in lines.items() if count > MAX_FILE]
  long += [f'{place(path, node)}: {node.name} has {length(node)} lines' for path in files
           for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
           and length(node) > MAX_FUNCTION]
  assert not long


def test_each_mutant_changes_one_place():
  """Else a text that has moved would be noticed only when all mutants are run."""
  assert not [name for name, (file, text, *_) in MUTANTS.items() if (ROOT / file).read_text().count(text) != 1]

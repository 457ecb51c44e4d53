"""The files that name versions agree: pyproject.toml, the locks, requirements.txt, the README and the workflow."""

from pathlib import Path
import re
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
import pytest
import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
LOCKS = {path.stem.removeprefix('python'): path for path in (ROOT / 'locks').iterdir()}
PYTHONS = {name.rpartition(' ')[2] for name in PROJECT['classifiers'] if re.search(r':: 3\.\d+$', name)}


def required(*extras: str) -> list[Requirement]:
  """The requirements of the package and of these extras, with those of the extras that they include."""
  found = [Requirement(line) for line in PROJECT['dependencies']]
  for extra in extras:
    for requirement in map(Requirement, PROJECT['optional-dependencies'][extra]):
      found += required(*requirement.extras) if requirement.name == 'maskrep' else [requirement]
  return found


def pinned(path: Path) -> dict[str, str]:
  """The versions in a file, by name."""
  lines = [line for line in path.read_text().splitlines() if not line.startswith('#')]
  return {canonicalize_name(name): version for name, version in (line.split('==') for line in lines)}


@pytest.mark.parametrize(('path', 'extras'), [*((path, ('test',)) for path in LOCKS.values()),
                                              (ROOT / 'requirements.txt', ())], ids=str)
def test_what_is_locked_satisfies_what_is_required(path, extras):
  versions = pinned(path)
  assert not [str(each) for each in required(*extras)
              if not each.specifier.contains(versions.get(canonicalize_name(each.name), '0'))]


def test_requirements_are_those_of_the_lock():
  locked = pinned(LOCKS['3.11'])
  assert pinned(ROOT / 'requirements.txt').items() <= locked.items()


def test_each_python_is_locked_tested_and_named():
  workflow = yaml.safe_load((ROOT / '.github' / 'workflows' / 'tests.yml').read_text())
  assert PYTHONS == LOCKS.keys() == set(workflow['jobs']['ci']['strategy']['matrix']['python'])
  assert all(python in (ROOT / 'README.md').read_text() for python in PYTHONS)


def test_every_requirement_has_a_lower_bound():
  """Else the oldest versions, which the workflow tests, would be those of years ago."""
  unbounded = [str(each) for each in required('test', 'tensorflow', 'prepare')
               if not any(clause.operator in ('>=', '==') for clause in each.specifier)]
  assert not unbounded

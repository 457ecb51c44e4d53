"""The files and commands of docs/add_a_method.md."""

from pathlib import Path
import re

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / 'docs' / 'add_a_method.md').read_text()
SECTIONS = dict(re.findall(r'^## \d\. (.*?)\n(.*?)(?=^## |\Z)', TEXT, re.M | re.S))
FILES = {'patch_colours.py': 'The module', 'digits.py': 'The config'}
# The word after `maskrep` -> the command.
COMMANDS = {line.split()[1]: line for line in re.findall(r'^maskrep .*', SECTIONS['Run it'], re.M)}


def blocks(title: str) -> list[str]:
  return re.findall(r'^```python\n(.*?)^```', SECTIONS[title], re.M | re.S)


def write(folder: Path) -> Path:
  """Writes the package `mine` of the page into `folder`, as its reader does."""
  package = folder / 'mine'
  package.mkdir()
  for name, title in FILES.items():
    (package / name).write_text('\n'.join(blocks(title)))
  return package

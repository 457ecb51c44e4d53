"""The launch scripts that come with maskrep."""

from pathlib import Path

FOLDER = Path(__file__).parent.parent / 'launch'
SCRIPTS = tuple(sorted(path.name for path in FOLDER.iterdir() if path.suffix in ('.sh', '.sbatch', '.yaml')))


def read(name: str) -> str:
  return (FOLDER / name).read_text()


def about(name: str) -> str:
  """The first line of a script's leading comment."""
  return next(line for line in read(name).splitlines() if line.startswith('# ')).strip('# :')

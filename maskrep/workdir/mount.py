"""Whether a folder is on a mount in user space (FUSE), as a mounted bucket is, whose folders cannot be renamed."""

from pathlib import Path
import re

MOUNTS = Path('/proc/self/mountinfo')  # of Linux; elsewhere no folder counts as such


def on_fuse(folder: Path) -> bool:
  """True if the folder, which need not exist, is on a FUSE mount."""
  kinds = {}
  for line in MOUNTS.read_text(errors='surrogateescape').splitlines() if MOUNTS.exists() else ():
    mount, _, kind = line.partition(' - ')
    point = re.sub(r'\\(\d{3})', lambda code: chr(int(code[1], 8)), mount.split()[4])  # a space is \040
    kinds[Path(point)] = kind.split()[0]
  full = folder.resolve()
  found = next((kinds[each] for each in (full, *full.parents) if each in kinds), '')
  return found.partition('.')[0] == 'fuse'

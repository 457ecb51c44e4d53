"""Tables in Markdown."""

from collections.abc import Sequence


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1) -> str:
  """Formats a table with aligned columns in the source too: the first `names` to the left, the others to the right."""
  cells = [[cell.replace('|', r'\|') for cell in line] for line in (head, *rows)]
  widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
  lines = [' | '.join(cell.ljust(width) if i < names else cell.rjust(width)
                      for i, (cell, width) in enumerate(zip(line, widths, strict=True))) for line in cells]
  rule = ' | '.join('-' * width if i < names else '-' * (width - 1) + ':' for i, width in enumerate(widths))
  return '\n'.join(f'| {line} |' for line in (lines[0], rule, *lines[1:]))

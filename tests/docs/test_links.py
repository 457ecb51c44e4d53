"""Relative links and anchors lead somewhere. Links to other sites are checked in .github/workflows/tests.yml."""

import json
from pathlib import Path
import re

import pytest

ROOT = Path(__file__).parent.parent.parent
NOTEBOOK = ROOT / 'docs' / 'first_steps.ipynb'
PAGES = [*sorted(ROOT.glob('*.md')), *sorted((ROOT / 'docs').glob('*.md')), NOTEBOOK]
NAMED = re.compile(r'docs/[\w/]+\.(?:md|png|jpg|ipynb)')


def prose(path: Path) -> str:
  """The Markdown of a page without its blocks of code."""
  text = path.read_text()
  if path == NOTEBOOK:
    cells = json.loads(text)['cells']
    text = '\n\n'.join(''.join(cell['source']) for cell in cells if cell['cell_type'] == 'markdown')
  return re.sub(r'^```.*?^```', '', text, flags=re.M | re.S)


def anchors(path: Path) -> set[str]:
  """The anchors that GitHub and MyST give to the headings of a page."""
  titles = [re.sub(r'\[(.*?)\]\(.*?\)', r'\1', title) for title in re.findall(r'^#+ (.+)$', prose(path), re.M)]
  return {re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-') for title in titles}


def broken(path: Path) -> list[str]:
  """The relative links of a page that lead nowhere."""
  found = []
  for link in re.findall(r'\]\((?!https?:)([^)\s]+)\)', prose(path)):
    file, _, anchor = link.partition('#')
    target = (path.parent / file).resolve() if file else path
    if not target.exists() or not target.is_relative_to(ROOT) or (anchor and anchor not in anchors(target)):
      found.append(link)
  return found


@pytest.mark.parametrize('path', PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
  assert not broken(path)


def test_a_link_that_leads_nowhere_is_found(tmp_path, monkeypatch):
  monkeypatch.setattr(f'{__name__}.ROOT', tmp_path)
  page = tmp_path / 'page.md'
  (tmp_path / 'other.md').write_text('# A title, *of* `two` parts\n\n```bash\n# no title\n```\n')
  page.write_text('# Here\n[a](other.md) [b](other.md#a-title-of-two-parts) [c](#here) [d](https://example.org/x)\n'
                  '[e](missing.md) [f](other.md#no-title) [g](#there) [h](../outside.md)\n')
  assert broken(page) == ['missing.md', 'other.md#no-title', '#there', '../outside.md']


def test_pages_that_the_code_names_exist():
  files = [path for top in ('maskrep', 'configs', 'benchmarks', 'launch') for path in (ROOT / top).rglob('*')
           if path.suffix in ('.py', '.sh', '.sbatch', '.yaml')]
  named = {page for path in files for page in NAMED.findall(path.read_text())}
  assert {'docs/msn.md', 'docs/reference.md'} <= named
  assert not [page for page in named if not (ROOT / page).exists()]


def test_every_page_is_in_the_table_of_contents():
  """Sphinx warns too; this is what a reader of the repository sees."""
  listed = set(re.findall(r'^(?:.*<)?([a-z_]+)>?$', (ROOT / 'docs' / 'index.md').read_text(), re.M))
  assert {path.stem for path in PAGES if path.parent.name == 'docs'} - {'index'} <= listed

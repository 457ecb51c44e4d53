"""The README keeps its word: its commands exist, its links lead somewhere, its configs are all there are."""

from pathlib import Path
import re

ROOT = Path(__file__).parent.parent
README = (ROOT / 'README.md').read_text()
CONFIGS = {path.stem for path in (ROOT / 'configs').glob('*.py')} - {'__init__'}


def test_the_two_commands_come_first():
  blocks = re.findall(r'```bash\n(.*?)```', README, re.S)
  assert blocks[0] == ('pip install uv && uv pip install --python python -e . && '
                       'python main.py --config=configs/msn_digits.py --workdir=runs/msn_digits\n')
  assert blocks[1] == "pip install -e '.[test]' && python -m pytest\n"


def test_links_and_configs_exist():
  for page in (ROOT / 'README.md', *(ROOT / 'docs').glob('*.md')):
    for link in re.findall(r'\]\((?!http)([^)#]+)', page.read_text()):
      assert (page.parent / link).exists(), f'{page.name}: {link}'
  for name in re.findall(r'configs/(\w+)\.py', README):
    assert name in CONFIGS
  assert set(re.findall(r'^\| `(\w+)` \|', README.split('## Configs')[1].split('## How')[0], re.M)) == CONFIGS


def test_exit_codes_are_those_of_the_errors():
  from maskrep import errors

  codes = {e.exit_code for e in vars(errors).values() if isinstance(e, type) and e is not errors.RunError}
  assert codes | {0} == {int(code) for code in re.findall(r'^\| (\d+) \|', README, re.M)}

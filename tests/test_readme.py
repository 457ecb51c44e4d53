"""The README keeps its word: its commands exist, and its configs are all there are."""

from pathlib import Path
import re
import signal

from maskrep.errors import RunError

ROOT = Path(__file__).parent.parent
README, REFERENCE = (ROOT / 'README.md').read_text(), (ROOT / 'docs' / 'reference.md').read_text()
CONFIGS = {path.stem for path in (ROOT / 'configs').glob('*.py')} - {'__init__'}


def test_the_two_commands_come_first():
  blocks = re.findall(r'```bash\n(.*?)```', README, re.S)
  assert blocks[0] == ('pip install uv && uv pip install --python python -e . && '
                       'python main.py --config=configs/msn_digits.py --workdir=runs/msn_digits\n')
  assert blocks[1] == "pip install -e '.[test]' && python -m pytest\n"


def test_configs_exist():
  for name in re.findall(r'configs/(\w+)\.py', README):
    assert name in CONFIGS
  named = re.findall(r'`((?:msn|extrema|mscn|mim|vqgan)_\w+)`', README.split('## What is here')[1].split('## Why')[0])
  assert named and CONFIGS >= set(named)
  assert set(re.findall(r'^\| `(\w+)` \|', REFERENCE.split('## Configs')[1], re.M)) == CONFIGS


# What cannot be shown in a moment, and the test that shows it.
SHOWN = {
  3: 'cli/test_train.py test_a_file_system_that_hangs_does_not_hold_the_process',
  5: 'long/test_durability.py test_loss_that_is_not_finite_ends_the_run_by_name',
  6: 'long/test_distributed.py test_where_one_is_lost_the_other_ends_with_a_line',
  75: 'long/test_durability.py test_told_to_stop_it_saves_and_says_so_and_a_second_run_is_kept_out',
  129: 'process/test_signals.py test_a_second_signal_waits_until_somebody_must_mean_it',
  130: 'process/test_signals.py test_a_second_signal_waits_until_somebody_must_mean_it',
  137: 'sweep/test_launch.py test_a_run_that_fails_ends_alone_and_is_shown',
  138: 'process/test_signals.py test_a_second_signal_waits_until_somebody_must_mean_it',
  143: 'process/test_signals.py test_a_second_signal_waits_until_somebody_must_mean_it',
}
CRASHES = 134, 139  # of compiled code: none is known


def documented() -> set[int]:
  rows = re.findall(r'^\| (\d+(?:, \d+)*) \|', REFERENCE, re.M)
  codes = [int(code) for row in rows for code in row.split(', ')]
  assert len(codes) == len(set(codes))
  return set(codes)


def test_every_exit_code_has_a_row():
  from maskrep import errors
  from maskrep.process.signals import SIGNALS

  raised = {e.exit_code for e in vars(errors).values() if isinstance(e, type)}
  killed = {128 + number for number in (*SIGNALS, signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV)}
  assert {0} | raised | killed == documented()


def test_every_row_is_shown(tmp_path, capsys):
  from maskrep.cli import command, report, train

  def differs(_):
    raise RunError('the outputs differ')

  (tmp_path / 'file').touch()
  (tmp_path / 'evaluations.jsonl').touch()
  digits = f'--config={ROOT}/configs/msn_digits.py'
  in_a_moment = {
    0: lambda: train.main(['main.py', digits, '--dry_run', '--config.encoder.depth=1']),
    1: lambda: command.run_command(differs, []),
    2: lambda: report.main(['report', f'--workdir={tmp_path}']),
    4: lambda: train.main(['main.py', digits, f'--workdir={tmp_path}/file/run']),
  }
  for code, end in in_a_moment.items():
    assert end() == code
  for shown in SHOWN.values():
    file, name = shown.split()
    assert f'\ndef {name}(' in (ROOT / 'tests' / file).read_text()
  assert in_a_moment.keys() | SHOWN.keys() | set(CRASHES) == documented()

"""Facts on which all processes of a run must agree, as each trains its own copy of the state."""

from collections.abc import Mapping
import hashlib
import json
from pathlib import Path
import sys
from typing import Any

from flax.traverse_util import flatten_dict

from maskrep.experiment.opened import OpenExperiment

PACKAGE = Path(__file__).parent.parent
# Fields of a config that may differ between processes: they affect the speed of one process only.
OWN_FIELDS = 'data.threads', 'data.stall_timeout_s'


def of_config(config: Mapping[str, Any], start: dict) -> dict[str, Any]:
  """Facts known before anything is opened: the fields of a config, the code and the versions of packages.

  `start` is from `describe_start`. Code is compared by its files: a revision does not cover uncommitted changes.
  """
  fields = flatten_dict(json.loads(json.dumps(config)), sep='.')
  method = sys.modules.get(str(config.get('method')))  # of a method outside maskrep
  code = sorted(PACKAGE.rglob('*.py')) + ([Path(method.__file__)] if method and method.__file__ else [])
  return {
    **{f'config.{field}': value for field, value in fields.items() if field not in OWN_FIELDS},
    'code': hashlib.sha256(b''.join(path.read_bytes() for path in code)).hexdigest()[:16],
    'revision': start['revision'],
    'python': start['python'],
    **{f'versions.{name}': version for name, version in start['versions'].items()},
  }


def of_data(opened: OpenExperiment) -> dict[str, Any]:
  """Facts about the inputs of an experiment."""
  return {
    'data': opened.fingerprint,
    'evaluation data': opened.eval_source.fingerprint if opened.eval_source else '',
    'weights of config.train.init_from': opened.start_digest,
  }

"""Checkpoints of a training state: orbax, asynchronous, keep-last-n, verified. The only file that uses orbax.

Orbax writes a step under a temporary name and renames it, so a kill leaves the earlier steps intact. On a mounted
bucket, whose folders cannot be renamed, a file that is written last marks a step as complete. Orbax does not detect a
flipped bit. So each step also holds a fingerprint of every leaf, computed on the devices and compared on restore.
"""

from collections.abc import Iterator
import contextlib
import logging
from pathlib import Path
import shutil
import time
from typing import Any, TypeVar

import jax
from jax.experimental import multihost_utils
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from maskrep.errors import CheckpointError
from maskrep.types import TrainState
from maskrep.workdir.bucket import COMMITTED, in_bucket
from maskrep.workdir.files import move_folder, remove_folder
from maskrep.workdir.folder import Place
from maskrep.workdir.mount import on_fuse
from maskrep.workdir.progress import CORRUPT, STEP

SHOWN = 10  # leaves named in a message
FAILURES = 3  # saves in a row after whose failure the run ends

State = TypeVar('State', bound=TrainState | dict[str, Any])  # the whole, or a part of it

log = logging.getLogger(__name__)


class Checkpoints:
  """The checkpoints of one workdir. Use as a context manager: leaving it waits for the save in flight.

  Leaving raises CheckpointError if the last save failed, unless another error is being raised. With `read_only` nothing
  in the workdir is changed, so it may be another run's.
  """

  def __init__(self, workdir: Path, keep: int, *, read_only: bool = False):
    self._bucket = in_bucket(workdir)
    self._directory = workdir / 'checkpoints' if self._bucket else (workdir / 'checkpoints').absolute()
    self._corrupt = self._directory.parent / CORRUPT
    self._place = Place(workdir)
    self._marked = self._bucket or on_fuse(workdir)  # whether a step is complete only once it holds `COMMITTED`
    self._keep, self._failures, self._in_flight, self._read_only = keep, 0, False, read_only
    with _without_warnings() if read_only else contextlib.nullcontext():
      self._manager = ocp.CheckpointManager(
        self._directory,
        item_handlers={'state': ocp.StandardCheckpointHandler(), 'fingerprint': ocp.JsonCheckpointHandler()},
        options=ocp.CheckpointManagerOptions(
          max_to_keep=keep,
          cleanup_tmp_directories=not read_only,
          read_only=read_only,
          # The default makes a process hang at its exit if the directory cannot be made.
          async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
          atomicity_options=ocp.options.AtomicityOptions(mode=ocp.options.AtomicityMode.COMMIT_FILE)
          if self._marked else None,
        ),
      )

  def __enter__(self):
    return self

  def __exit__(self, error_type, *_):
    try:
      self.finish()
    except CheckpointError as error:
      if error_type is None:
        raise
      log.warning('%s', error)
    finally:
      self._manager.close()

  def finish(self) -> None:
    """Waits for the save in flight.

    Raises:
      CheckpointError: the save failed.
    """
    try:
      self._manager.wait_until_finished()
    except Exception as error:  # of any type: orbax passes on what its storage raised
      raise CheckpointError(f'{self._directory}: the last checkpoint was not saved ({_line(error)}); free space or '
                            'repair the disk, then run the same command: it goes on from the one before') from error
    if self._failures and not self._in_flight:
      raise CheckpointError(f'{self._directory}: the last checkpoint was not saved; see the warnings above')

  def save(self, state: TrainState, step: int) -> None:
    """Starts a save; the arrays are copied before this returns, so the state may be donated to the next step.

    If a save fails, now or in the background, this logs a warning and removes the partial files, to free their space.

    Raises:
      CheckpointError: `FAILURES` saves in a row failed, the step exists already, or the workdir was removed.
    """
    if lost := self._place.lost():
      raise lost
    fingerprints = _as_json(_fingerprint(state))
    args = ocp.args.Composite(state=ocp.args.StandardSave(state), fingerprint=ocp.args.JsonSave(fingerprints))
    try:
      self._manager.wait_until_finished()  # raises what the save before raised in the background
      self._failures = 0 if self._in_flight else self._failures
    except Exception as error:  # of any type, as above
      self._failed('the checkpoint before', step, error)
    self._in_flight = False
    try:
      saved = self._manager.save(step, args=args)
    except Exception as error:  # of any type, as above
      self._failed('the checkpoint of', step, error)
      return
    if not saved:
      raise CheckpointError(f'{self._directory}: step {step} was not saved: a checkpoint of it or of a later one is '
                            'there already; move it away or choose another --workdir')
    self._in_flight = True

  def _failed(self, which: str, step: int, error: Exception) -> None:
    """Counts a failed save, and removes its partial files, which may be those that fill the disk."""
    self._failures += 1
    log.warning('%s: %s step %d was not saved: %s', self._directory, which, step, _line(error))
    if jax.process_index() == 0:
      for path in self._directory.glob('*'):
        if '.orbax-checkpoint-tmp' in path.name or self._half_written(path):
          remove_folder(path)
    if self._failures == FAILURES:
      raise CheckpointError(f'{self._directory}: {FAILURES} checkpoints in a row were not saved ({_line(error)}); '
                            'free space or repair the disk, then run the same command') from error
    self._manager.reload()

  def _half_written(self, path: Path) -> bool:
    return self._marked and bool(STEP.fullmatch(path.name)) and not (path / COMMITTED).exists()

  def restore(self, template: State) -> State | None:
    """The newest intact state, or a part of it; None if nothing was saved.

    A damaged checkpoint is moved to `corrupt/` in the workdir, once an older one is found intact.

    Args:
      template: shapes, types and shardings of the leaves of a state. A dict with some fields of `TrainState` and
        sub-trees of these, such as {'ema_params': {'encoder': ...}}, is a part: only its leaves are read, compared with
        the template and verified.

    Returns:
      Arrays in the structure of `template`.

    Raises:
      CheckpointError: there are checkpoints, but none is intact and fits `template`.
    """
    if not self._read_only and not self._bucket and isinstance(template, TrainState):
      self._warn_of_space(template)
    rejected = {}
    state = None
    for step in sorted(self._manager.all_steps(), reverse=True):
      try:
        state, reason = self._read(step, template), ''
      except Exception as error:  # of any type: nobody lists the errors that damage causes in orbax
        reason = _line(error)
      if _everywhere(not reason):
        break
      rejected[step] = reason or 'another process cannot read it'
      state = None
    if rejected and state is None:
      raise CheckpointError(f'{self._directory}: no checkpoint can be restored; nothing was changed. ' + '; '.join(
        f'step {step}: {reason}' for step, reason in rejected.items()))
    for step, reason in rejected.items():
      log.warning('%s: step %d is damaged (%s); %s', self._directory, step, reason, 'an older one is taken'
                  if self._read_only else f'it is set aside in {self._corrupt}')
    if not self._read_only:
      self._set_aside(rejected)
    return state

  def _warn_of_space(self, template: TrainState) -> None:
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(template))
    needed = (self._keep + 1 - len(self._manager.all_steps())) * size
    if (free := shutil.disk_usage(self._directory).free) < needed:
      log.warning('%s: has %.1f GB free, and the checkpoints to come need %.1f GB; free space, or lower '
                  'config.train.keep_checkpoints', self._directory, free / 1e9, needed / 1e9)

  def _read(self, step: int, template: State) -> State:
    folder, whole = self._directory / str(step), isinstance(template, TrainState)
    if not self._bucket and folder.is_symlink():
      raise ValueError('it is a link')
    wrong = _mismatch(self._manager.item_metadata(step)['state'], template, whole)
    if wrong:
      raise ValueError(wrong)
    if whole:
      state = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(template)))['state']
    else:
      state = _read_part(folder / 'state', template)
    stored = self._manager.restore(step, args=ocp.args.Composite(fingerprint=ocp.args.JsonRestore()))['fingerprint']
    # Leaf by leaf, a part needs no more memory than its largest leaf: on a CPU, XLA does not reuse another's memory.
    found = _as_json(_fingerprint(state) if whole else {name: _of_leaf(leaf) for name, leaf in _named(state)})
    names = sorted(name for name in (stored.keys() | found.keys() if whole else found.keys())
                   if stored.get(name) != found.get(name))
    if names:
      raise ValueError(f'{len(names)} of {len(found)} leaves are not what was saved, the first {names[0]}')
    return state

  def _set_aside(self, steps) -> None:
    """Moves folders of steps, and anything else with a step's name, out of the way of later saves."""
    whole = set(self._manager.all_steps()) - set(steps)
    if jax.process_index() == 0:
      for path in self._directory.glob('*'):  # a bucket has no empty folder
        # What is half-written, orbax is removing.
        if STEP.fullmatch(path.name) and int(path.name) not in whole and not self._half_written(path):
          move_folder(path, self._corrupt / f'{path.name}-{time.strftime("%Y%m%dT%H%M%S")}-{time.time_ns() % 10**6}')
    if jax.process_count() > 1:
      multihost_utils.sync_global_devices('set aside')
    self._manager.reload()


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
  """Suppresses orbax's warnings that a read-only manager does not write: anyone who loads an encoder would see them.
  """
  logger = logging.getLogger('absl')
  level = logger.level
  logger.setLevel(logging.ERROR)
  try:
    yield
  finally:
    logger.setLevel(level)


def _read_part(path: Path, part: State) -> State:
  """Reads the leaves of `part`, and no others, of a state that StandardSave wrote."""
  # The standard handler restores only complete trees. It writes in the same way as this one.
  item = _without_empty(part)
  args = ocp.args.PyTreeRestore(
    item=item, restore_args=ocp.checkpoint_utils.construct_restore_args(item), partial_restore=True)
  with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
    found = checkpointer.restore(path, args=args)
  return jax.tree.unflatten(jax.tree.structure(part), jax.tree.leaves(found))


def _without_empty(tree: Any) -> Any:
  """The tree without dicts that hold no leaf: orbax refuses them if the stored tree has leaves there."""
  if not isinstance(tree, dict):
    return tree
  return {name: _without_empty(value) for name, value in tree.items() if jax.tree.leaves(value)}


@jax.jit
def _fingerprint(state: TrainState | dict[str, Any]) -> dict[str, jax.Array]:
  """uint32 [2] of each leaf: the sum of its bits, and the sum weighted by position, both modulo 2 ** 32.

  Integer sums do not depend on their order, so the sharding does not matter. A single flipped bit changes the first
  sum, swapped values the second. It protects against accidents, not against an attacker.
  """
  return {name: _of_leaf(leaf) for name, leaf in _named(state)}


@jax.jit
def _of_leaf(leaf: jax.Array) -> jax.Array:
  unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[leaf.dtype.itemsize]
  bits = jax.lax.bitcast_convert_type(leaf, unsigned).astype(jnp.uint32).reshape(-1)
  weights = 2 * jax.lax.iota(jnp.uint32, bits.size) + 1
  return jnp.stack([bits.sum(dtype=jnp.uint32), (bits * weights).sum(dtype=jnp.uint32)])


def _named(tree: Any) -> list[tuple[str, Any]]:
  """The leaves, by their dotted names."""
  return [(jax.tree_util.keystr(path, simple=True, separator='.'), leaf)
          for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def _as_json(fingerprints: dict[str, jax.Array]) -> dict[str, list[int]]:
  return {name: [int(n) for n in np.asarray(value)] for name, value in fingerprints.items()}


def _mismatch(metadata, template: TrainState | dict[str, Any], whole: bool) -> str:
  """The leaves whose shapes or types differ, for a message; '' if none.

  If the template is of the complete state, stored leaves that it lacks count as differences too.
  """
  def described(tree):
    return {name: f'{jnp.dtype(leaf.dtype).name}{list(leaf.shape)}' for name, leaf in _named(tree)}

  stored, wanted = described(metadata), described(template)
  names = sorted(stored.keys() | wanted.keys() if whole else wanted.keys())
  wrong = [f'{name} is {stored.get(name, "missing")} in the checkpoint and {wanted.get(name, "missing")} in this run'
           for name in names if stored.get(name) != wanted.get(name)]
  return ', '.join(wrong[:SHOWN]) + (f' and {len(wrong) - SHOWN} leaves more' if len(wrong) > SHOWN else '')


def _everywhere(ok: bool) -> bool:
  """True if `ok` is true in every process."""
  return ok if jax.process_count() == 1 else bool(multihost_utils.process_allgather(np.array(ok)).all())


def _line(error: Exception) -> str:
  return f'{type(error).__name__}: {" ".join(str(error).split())}'[:300]

"""Checkpoints of a training state: orbax, asynchronous, keep-last-n. The only file that knows orbax."""

from pathlib import Path

import jax
import orbax.checkpoint as ocp

from maskrep.errors import CheckpointError
from maskrep.types import TrainState


class Checkpoints:
  """The checkpoints of one workdir. Use as a context manager: leaving it waits for the save in flight."""

  def __init__(self, workdir: Path, keep: int):
    self._directory = workdir / 'checkpoints'
    self._manager = ocp.CheckpointManager(
      self._directory.absolute(),
      item_handlers={'state': ocp.StandardCheckpointHandler()},
      options=ocp.CheckpointManagerOptions(
        max_to_keep=keep,
        cleanup_tmp_directories=True,
        # The default makes a process hang at its exit when the directory cannot be made.
        async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
      ),
    )

  def __enter__(self):
    return self

  def __exit__(self, *_):
    try:
      self._manager.wait_until_finished()
    finally:
      self._manager.close()

  def save(self, state: TrainState, step: int) -> None:
    """Starts to write; the arrays are copied before this returns, so the state may be donated to the next step."""
    if not self._manager.save(step, args=ocp.args.Composite(state=ocp.args.StandardSave(state))):
      raise CheckpointError(f'{self._directory}: step {step} was not saved: a checkpoint of it or of a later one is '
                            'there already; move it away or choose another --workdir')

  def restore(self, abstract_state: TrainState) -> TrainState | None:
    """The newest state, placed by the shardings of `abstract_state`'s leaves; None where nothing was saved."""
    steps = self._manager.all_steps()
    if not steps:
      return None
    args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract_state))
    return self._manager.restore(max(steps), args=args)['state']


def abstract(state_fn, sharding_fn) -> TrainState:
  """Shapes, dtypes and shardings of the state that `state_fn` would make, without making it."""
  shapes = jax.eval_shape(state_fn)
  return jax.tree.map(lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
                      shapes, sharding_fn(shapes))

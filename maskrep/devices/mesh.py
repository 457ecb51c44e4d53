"""Placement of arrays: one mesh; batches are sharded over all of it, states replicated or sharded over axis `fsdp`."""

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
import numpy as np

from maskrep.types import Batch


def make_mesh(fsdp: int = 1, devices: list | None = None) -> Mesh:
  """All devices as [data, fsdp]; the axes are Auto: the partitioner places intermediate arrays."""
  devices = devices or jax.devices()
  return jax.make_mesh((len(devices) // fsdp, fsdp), ('data', 'fsdp'), axis_types=(AxisType.Auto,) * 2, devices=devices)


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """The leading axis of a batch, over every device."""
  return NamedSharding(mesh, PartitionSpec(('data', 'fsdp')))


def state_sharding(mesh: Mesh, abstract_state):
  """Shards the largest dimension of each leaf that the size of `fsdp` divides; replicates leaves without one."""
  fsdp = mesh.shape['fsdp']

  def spec(leaf) -> NamedSharding:
    dims = [d for d in np.argsort(leaf.shape)[::-1] if leaf.shape[d] % fsdp == 0]
    if fsdp == 1 or not dims:
      return NamedSharding(mesh, PartitionSpec())
    return NamedSharding(mesh, PartitionSpec(*('fsdp' if d == dims[0] else None for d in range(len(leaf.shape)))))

  return jax.tree.map(spec, abstract_state)


def global_batch(mesh: Mesh, local: dict[str, np.ndarray]) -> Batch:
  """This process's slice of a batch -> global arrays on the mesh. The transfer is asynchronous."""
  sharding = batch_sharding(mesh)
  return {name: jax.make_array_from_process_local_data(sharding, value) for name, value in local.items()}

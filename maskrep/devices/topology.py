"""Accelerators that are not here: their compilers run on any machine, and their published sizes say what fits.

Sizes are those of the makers' data sheets, of one of the compiler's devices: TPU v3 and v4 have two per chip.
"""

import dataclasses
import os
import re

from maskrep.errors import ConfigError
from maskrep.jax_internals import topology_devices


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
  """One kind of accelerator.

  Attributes:
    platform: 'tpu' or 'gpu'.
    memory: bytes per device.
    flops: bfloat16 products per second and device, at most.
    bandwidth: of a GPU's memory, in bytes per second.
    clock: of a TPU, in Hz: `flops` over the multipliers of its matrix units.
    target: of a GPU, what its compiler asks about it, as a protobuf in text form.
  """

  platform: str
  memory: float
  flops: float
  bandwidth: float = 0.0
  clock: float = 0.0
  target: str = ''


def peak_flops(device_kind: str) -> float | None:
  """bfloat16 products per second that a device can do, by the name jax gives it; None for an unknown one."""
  return next((MACHINES[kind].flops for name, kind in NAMES.items() if name in device_kind), None)


def _tpu(memory: float, flops: float, multipliers: int) -> Machine:
  return Machine(platform='tpu', memory=memory * 2**30, flops=flops, clock=flops / (2 * multipliers))


def _gpu(memory: int, flops: float, bandwidth: float, **about: int | float | str) -> Machine:
  shared = {'threads_per_block_limit': 1024, 'threads_per_warp': 32, 'shared_memory_per_block': 49152,
            'threads_per_core_limit': 2048, 'block_dim_limit_x': 2147483647, 'block_dim_limit_y': 65535,
            'block_dim_limit_z': 65535, 'registers_per_core_limit': 65536, 'registers_per_block_limit': 65536}
  major, name = about.pop('major'), about.pop('name')
  info = shared | about | {'memory_bandwidth': int(bandwidth), 'device_memory_size': memory}
  text = ' '.join(f'{field}: {value}' for field, value in info.items())
  target = (f'gpu_device_info {{ {text} cuda_compute_capability {{ major: {major} minor: 0 }} }} '
            f'platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 8 }} device_description_str: "{name}"')
  return Machine(platform='gpu', memory=memory, flops=flops, bandwidth=bandwidth, target=target)


MACHINES = {
  'v3': _tpu(16, 61.5e12, 2 * 128**2),
  'v4': _tpu(16, 137.5e12, 4 * 128**2),
  'v5e': _tpu(16, 197e12, 4 * 128**2),
  'v5p': _tpu(95, 459e12, 8 * 128**2),
  'v6e': _tpu(32, 918e12, 4 * 256**2),
  'a100': _gpu(
    85_174_648_832, 312e12, 2.039e12, core_count=108, fpus_per_core=64, shared_memory_per_core=167936,
    shared_memory_per_block_optin=166912, l2_cache_size=41943040, clock_rate_ghz=1.41, major=8,
    name='NVIDIA A100-SXM4-80GB'),
  'h100': _gpu(
    84_942_979_072, 989e12, 3.352e12, core_count=132, fpus_per_core=128, shared_memory_per_core=233472,
    shared_memory_per_block_optin=232448, l2_cache_size=52428800, clock_rate_ghz=1.98, major=9,
    name='NVIDIA H100 80GB HBM3'),
}
# Parts of the names that jax gives devices; an H200 computes as fast as an H100.
NAMES = {'TPU v3': 'v3', 'TPU v4': 'v4', 'TPU v5 lite': 'v5e', 'TPU v5': 'v5p', 'TPU v6 lite': 'v6e', 'A100': 'a100',
         'H100': 'h100', 'H200': 'h100'}
_COMPILERS = {'tpu': 'tpu', 'gpu': 'cuda'}
EXAMPLES = 'h100:8, h100:8x8 (hosts x GPUs), a100:8, v4:2x2x1, v5e:16x16'


@dataclasses.dataclass(frozen=True)
class Topology:
  """Devices to compile for.

  Attributes:
    name: as given, such as 'v5e:16x16'.
  """

  name: str
  machine: Machine
  devices: list

  @property
  def lowers_for(self) -> str:
    """The platform, as jax calls it where it lowers programs."""
    return _COMPILERS[self.machine.platform]


def prepare(name: str) -> None:
  """Sets what the compilers read from the environment; to be called before jax is used.

  Raises:
    ConfigError: there is no such kind of machine.
  """
  machine = _machine(name)
  os.environ['JAX_PLATFORMS'] = 'cpu'
  if machine.platform == 'tpu':
    os.environ |= {'TPU_SKIP_MDS_QUERY': '1', 'TPU_ACCELERATOR_TYPE': 'none', 'TPU_WORKER_HOSTNAMES': 'localhost'}
  else:  # there is no driver, and nothing to tune products on
    os.environ['JAX_SKIP_CUDA_CONSTRAINTS_CHECK'] = '1'
    os.environ['XLA_FLAGS'] = (f'{os.environ.get("XLA_FLAGS", "")} --xla_gpu_enable_triton_gemm=false '
                               '--xla_gpu_autotune_level=0')


def topology(name: str) -> Topology:
  """The devices of 'KIND:SIZE'.

  Raises:
    ConfigError: there is no such kind or size, or its compiler is not installed.
  """
  machine, size = _machine(name), name.partition(':')[2]
  if machine.platform == 'gpu':
    hosts, _, per_host = size.rpartition('x')
    asked = {'topology_name': 'any', 'topology': f'1x{hosts or 1}x{per_host}', 'target_config': machine.target}
  else:
    asked = {'topology_name': name}
  try:
    found = topology_devices(_COMPILERS[machine.platform], **asked)
  except ImportError as error:
    raise ConfigError(f'--topology={name}: its compiler is missing ({error}); '
                      f"pip install 'maskrep[{_COMPILERS[machine.platform]}]'") from error
  except Exception as error:  # the compilers raise classes of their own
    raise ConfigError(f'--topology={name}: {" ".join(str(error).split())[:300]}; for example {EXAMPLES}') from error
  return Topology(name, machine, found)


def _machine(name: str) -> Machine:
  kind, _, size = name.partition(':')
  if kind not in MACHINES or not re.fullmatch(r'\d+(x\d+)*', size):
    raise ConfigError(f'--topology={name}: must be one of {", ".join(MACHINES)} and a size, for example {EXAMPLES}')
  return MACHINES[kind]

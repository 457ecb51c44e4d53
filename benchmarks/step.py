"""What a training step costs: python benchmarks/step.py --config=configs/msn_vits16.py --config.batch_size=8

Prints for each masking ratio the time of a whole step (views included) and of a step on views that are there already,
images/s, model FLOPs, the share of the machine's own matrix-product speed, measured between the steps, and the memory
of the compiled step. With --peer=torch the same step on timm's ViT in PyTorch runs in turn with ours, on equal views.
"""

import dataclasses
import statistics
import sys
import time

from absl import app, flags

from maskrep import allocator

allocator.keep_pages()  # as main.py does, before jax is imported

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from ml_collections import config_flags  # noqa: E402
import numpy as np  # noqa: E402

from maskrep import build  # noqa: E402
from maskrep import plan as planning  # noqa: E402
from maskrep.train.cost import matmul_flops  # noqa: E402
from maskrep.train.step import init_state, make_step  # noqa: E402

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file('config', None, 'The experiment to measure.')
flags.DEFINE_list('masking.ratio', ['0', '0.3', '0.5', '0.7'], 'Masking ratios, each a row.')
flags.DEFINE_integer('rounds', 3, 'Timings of each kind; the median is shown.')
flags.DEFINE_enum('peer', None, ['torch'], 'Also run the same step in this framework.')

CANVAS_IMAGE = 375, 500  # height and width of the average ImageNet picture


@dataclasses.dataclass(frozen=True)
class OnViews:
  """An objective whose batches are views already: the step without the augmentation."""

  objective: object

  def views(self, key, batch):
    return batch

  def __getattr__(self, name):
    return getattr(self.objective, name)


def random_batch(config) -> dict[str, jax.Array]:
  rng = np.random.default_rng(0)
  side, b = config.data.canvas, config.batch_size
  size = np.minimum(CANVAS_IMAGE, side)
  image = np.zeros((b, side, side, 3), np.uint8)
  image[:, :size[0], :size[1]] = rng.integers(0, 256, (b, *size, 3), np.uint8)
  return jax.device_put({'image': image, 'size': np.tile(size.astype(np.int32), (b, 1)),
                         'position': np.arange(b, dtype=np.uint32), 'label': np.zeros(b, np.int32)})


def seconds(function, *arguments) -> float:
  start = time.perf_counter()
  jax.block_until_ready(function(*arguments))
  return time.perf_counter() - start


class Stepper:
  """A compiled step that carries its donated state from call to call."""

  def __init__(self, objective, optimizer, momentum, batch):
    step = make_step(objective, optimizer, momentum, seed=0)
    self.state = jax.jit(lambda: init_state(objective, optimizer, 0))()
    self.flops = matmul_flops(step, self.state, batch)
    start = time.perf_counter()
    self.compiled = jax.jit(step, donate_argnums=0).lower(self.state, batch).compile()
    self.compile_seconds = time.perf_counter() - start
    self.batch = batch

  def __call__(self):
    self.state, metrics = self.compiled(self.state, self.batch)
    return metrics

  def memory(self) -> int:
    """Bytes: arguments, results that are not written over them, and temporaries."""
    m = self.compiled.memory_analysis()
    return m.argument_size_in_bytes + m.output_size_in_bytes - m.alias_size_in_bytes + m.temp_size_in_bytes


def matmul_speed(dtype):
  """A function that measures FLOP/s of one large product, as a ceiling to compare with."""
  side = 2048 if jax.default_backend() == 'cpu' else 8192
  a = jax.random.normal(jax.random.key(0), (side, side), dtype)
  product = jax.jit(lambda a, b: a @ b)
  jax.block_until_ready(product(a, a))
  return lambda: 2 * side**3 / seconds(product, a, a)


def measure(config, ratio: float) -> dict[str, float]:
  config.masking.ratio = ratio
  planning.check(config)
  objective = build.build_objective(config)
  optim = build.section(planning.Optim, config.optim, 'optim')
  values = optim.schedules(total_steps=1000, warmup_steps=100)
  optimizer = optim.optimizer(values)
  batch = random_batch(config)
  views = jax.jit(objective.views)(jax.random.key(0), batch)
  whole = Stepper(objective, optimizer, values['ema_momentum'], batch)
  core = Stepper(OnViews(objective), optimizer, values['ema_momentum'], views)
  runs = {'whole': whole, 'core': core}
  if FLAGS.peer:
    from benchmarks import peer_torch

    runs['peer'] = peer_torch.Step(config, views)
  speed = matmul_speed(build.compute_dtype(config))
  for run in runs.values():
    jax.block_until_ready(run())  # warm-up
  times, speeds = {name: [] for name in runs}, []
  for _ in range(FLAGS.rounds):
    for name, run in runs.items():
      speeds.append(speed())
      times[name].append(seconds(run))
  median = {name: statistics.median(values) for name, values in times.items()}
  peak = statistics.median(speeds)
  return {
    'step s': median['whole'], 'images/s': config.batch_size / median['whole'], 'on views s': median['core'],
    'GFLOP/image': core.flops / config.batch_size / 1e9, 'matmul GFLOP/s': peak / 1e9,
    'share of it': core.flops / median['core'] / peak, 'memory GB': core.memory() / 1e9,
    'compile s': whole.compile_seconds,
  } | ({'peer s': median['peer'], 'peer/ours': median['peer'] / median['core']} if FLAGS.peer else {})


def main(_) -> None:
  device = jax.devices()[0]
  print(f'{device.device_kind} x {jax.device_count()}, jax {jax.__version__}, batch {FLAGS.config.batch_size}, '
        f'{jnp.dtype(build.compute_dtype(FLAGS.config)).name}, median of {FLAGS.rounds}')
  for i, ratio in enumerate(FLAGS['masking.ratio'].value):
    found = measure(FLAGS.config, float(ratio))
    if i == 0:
      print('ratio'.rjust(6) + ''.join(name.rjust(16) for name in found))
    print(ratio.rjust(6) + ''.join(f'{value:.3g}'.rjust(16) for value in found.values()), flush=True)


if __name__ == '__main__':
  sys.path.insert(0, '.')
  app.run(main)

"""Cost of a training step: python benchmarks/step.py --config=configs/msn_vits16.py --config.batch_size=8

Prints for each masking ratio, or each --row, the time of a full step (views included) and of a step on existing views,
images/s, model FLOPs, the share of the machine's own matrix-product speed, measured between the steps, and the memory
of the compiled step. With --peer=torch the same step on timm's ViT in PyTorch also runs, on equal views. All rows are
timed in turn, because the speed of a shared machine changes.
"""

import ast
import dataclasses
import statistics
import sys
import time

from absl import app, flags

from maskrep.devices import allocator

allocator.keep_pages()  # as main.py does, before jax is imported

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from ml_collections import config_flags  # noqa: E402
import numpy as np  # noqa: E402

from maskrep.experiment.experiment import Experiment  # noqa: E402
from maskrep.train.cost import matmul_flops  # noqa: E402
from maskrep.train.step import init_state, make_step  # noqa: E402

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file('config', None, 'The experiment to measure.')
flags.DEFINE_multi_string('row', [f'masking.ratio={ratio}' for ratio in (0.0, 0.3, 0.5, 0.7)],
                          'What a row changes in the config, as FIELD=VALUE,FIELD=VALUE.')
flags.DEFINE_integer('rounds', 3, 'Timings of each kind; the median is shown.')
flags.DEFINE_enum('peer', None, ['torch'], 'Also run the same step in this framework.')

CANVAS_IMAGE = 375, 500  # height and width of the average ImageNet picture


@dataclasses.dataclass(frozen=True)
class OnViews:
  """An objective whose batches already are views: the step without the augmentation."""

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


def random_like(shapes):
  """Small normal values in these shapes, instead of trained weights."""
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.02, leaf.shape), leaf.dtype), shapes)


def seconds(function, *arguments) -> float:
  start = time.perf_counter()
  jax.block_until_ready(function(*arguments))
  return time.perf_counter() - start


class Stepper:
  """A compiled step that carries its donated state from call to call."""

  def __init__(self, objective, optimizer, momentum, rules, batch):
    step = make_step(objective, optimizer, momentum, 0, rules)
    self.state = jax.jit(lambda: init_state(objective.init, optimizer, 0))()
    self.frozen = random_like(objective.frozen.shapes if objective.frozen else None)
    traced = jax.jit(step, donate_argnums=0).trace(self.state, batch, self.frozen)
    self.flops = matmul_flops(traced)
    start = time.perf_counter()
    self.compiled = traced.lower().compile()
    self.compile_seconds = time.perf_counter() - start
    self.batch = batch

  def __call__(self):
    self.state, metrics = self.compiled(self.state, self.batch, self.frozen)
    return metrics

  def memory(self) -> int:
    """Bytes: arguments, results that do not reuse their memory, and temporaries."""
    m = self.compiled.memory_analysis()
    return m.argument_size_in_bytes + m.output_size_in_bytes - m.alias_size_in_bytes + m.temp_size_in_bytes


def matmul_speed(dtype):
  """A function that measures FLOP/s of one large product, as a ceiling to compare with."""
  side = 2048 if jax.default_backend() == 'cpu' else 8192
  a = jax.random.normal(jax.random.key(0), (side, side), dtype)
  product = jax.jit(lambda a, b: a @ b)
  jax.block_until_ready(product(a, a))
  return lambda: 2 * side**3 / seconds(product, a, a)


def prepare(config, row: str) -> dict:
  """The compiled steps of a row: with the augmentation, on views, and the peer's."""
  config = config.copy_and_resolve_references()
  for change in row.split(','):
    field, _, value = change.partition('=')
    config.update_from_flattened_dict({field: ast.literal_eval(value)})
  experiment = Experiment.parse(config)
  objective, optim = experiment.objective, experiment.optim
  values = optim.schedules(total_steps=1000, warmup_steps=100)
  rules = objective.rules(jax.eval_shape(objective.init, jax.random.key(0))[0])
  optimizer = optim.optimizer(values, rules)
  batch = {name: value for name, value in random_batch(config).items() if name in objective.reads}
  views = jax.jit(objective.views)(jax.random.key(0), batch)
  runs = {'whole': Stepper(objective, optimizer, values['ema_momentum'], rules, batch),
          'core': Stepper(OnViews(objective), optimizer, values['ema_momentum'], rules, views)}
  if FLAGS.peer:
    from benchmarks import peer_torch

    runs['peer'] = peer_torch.Step(config, views)
  return runs


def measure(rows: list[dict], batch_size: int, dtype) -> list[dict[str, float]]:
  speed = matmul_speed(dtype)
  for runs in rows:
    for run in runs.values():
      jax.block_until_ready(run())  # warm-up
  times = [{name: [] for name in (*runs, 'speed')} for runs in rows]
  for _ in range(FLAGS.rounds):
    for runs, found in zip(rows, times, strict=True):
      for name, run in runs.items():
        found['speed'].append(speed())
        found[name].append(seconds(run))
  table = []
  for runs, found in zip(rows, times, strict=True):
    median = {name: statistics.median(values) for name, values in found.items()}
    core = runs['core']
    table.append({
      'step s': median['whole'], 'images/s': batch_size / median['whole'], 'on views s': median['core'],
      'GFLOP/image': core.flops / batch_size / 1e9, 'matmul GFLOP/s': median['speed'] / 1e9,
      'share of it': core.flops / median['core'] / median['speed'], 'memory GB': core.memory() / 1e9,
      'compile s': runs['whole'].compile_seconds,
    } | ({'peer s': median['peer'], 'peer/ours': median['peer'] / median['core']} if FLAGS.peer else {}))
  return table


def main(_) -> None:
  device, dtype = jax.devices()[0], Experiment.parse(FLAGS.config).dtype
  print(f'{device.device_kind} x {jax.device_count()}, jax {jax.__version__}, batch {FLAGS.config.batch_size}, '
        f'{jnp.dtype(dtype).name}, median of {FLAGS.rounds}', flush=True)
  table = measure([prepare(FLAGS.config, row) for row in FLAGS.row], FLAGS.config.batch_size, dtype)
  width = max(map(len, FLAGS.row))
  print(' ' * width + ''.join(name.rjust(16) for name in table[0]))
  for row, found in zip(FLAGS.row, table, strict=True):
    print(row.ljust(width) + ''.join(f'{value:.3g}'.rjust(16) for value in found.values()))


if __name__ == '__main__':
  sys.path.insert(0, '.')
  app.run(main)

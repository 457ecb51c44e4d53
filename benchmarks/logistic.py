"""Times the logistic regression of evaluation/metrics/logistic.py against scikit-learn's, at ImageNet's 1 %.

13 000 features of 768 dimensions and 1000 classes, drawn around a mean per class, centred and of unit length. Both
minimise the same function from zero weights, scikit-learn's L-BFGS in float32 to each --tol. Each result is evaluated
in float64: by how much its value exceeds the smallest, and how far its weights are from ours.

  python benchmarks/logistic.py
  python benchmarks/logistic.py --examples=45 --width=150528 --classes=9    # 5 labels per class, pixels of 224 x 224
"""

import argparse
import time

import jax
import numpy as np
from sklearn.linear_model import LogisticRegression

from maskrep.evaluation.metrics.logistic import fit


def features(examples: int, width: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
  rng = np.random.default_rng(0)
  labels = np.arange(examples) % classes
  # Within a class, features differ about four times as much as class means do in each direction, like those of MSN.
  x = rng.normal(size=(classes, width))[labels] + 4 * rng.normal(size=(examples, width))
  x -= x.mean(axis=0)
  return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), labels


def value(weights: np.ndarray, bias: np.ndarray, x: np.ndarray, labels: np.ndarray, l2: float) -> float:
  """The minimised loss, in float64."""
  weights = weights.astype(np.float64)
  logits = x.astype(np.float64) @ weights + bias
  top = logits.max(axis=1)
  losses = np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top - logits[np.arange(len(x)), labels]
  return losses.sum() + l2 / 2 * np.sum(weights**2)


def main() -> None:
  flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  flags.add_argument('--examples', type=int, default=13_000)
  flags.add_argument('--width', type=int, default=768)
  flags.add_argument('--classes', type=int, default=1000)
  flags.add_argument('--l2', type=float, default=0.1)
  flags.add_argument('--tol', type=float, nargs='+', default=[1e-6, 1e-7, 1e-8])
  asked = flags.parse_args()
  x, labels = features(asked.examples, asked.width, asked.classes)

  began = time.perf_counter()
  ours = fit.lower(x, labels, num_classes=asked.classes, l2=asked.l2).compile()
  compiled = time.perf_counter()
  classifier = jax.block_until_ready(ours(x, labels, l2=asked.l2))
  rows = [('maskrep', time.perf_counter() - compiled, *map(np.asarray, classifier))]
  temporary = ours.memory_analysis().temp_size_in_bytes
  print(f'compiled in {compiled - began:.1f} s; {temporary / 1e6:.1f} MB beside {x.nbytes / 1e6:.1f} MB of features',
        flush=True)
  for tol in asked.tol:
    began = time.perf_counter()
    found = LogisticRegression(C=1 / asked.l2, tol=tol, max_iter=10_000).fit(x, labels)
    rows.append((f'scikit-learn, tol={tol:g}', time.perf_counter() - began, found.coef_.T, found.intercept_))
  values = [value(weights, bias, x, labels, asked.l2) for _, _, weights, bias in rows]
  for (name, seconds, weights, _), reached in zip(rows, values, strict=True):
    print(f'{name:<26} {seconds:7.1f} s, {seconds / rows[0][1]:5.2f} times ours; {reached / min(values) - 1:.1e} above '
          f'the least, weights differ by {np.abs(weights - rows[0][2]).max():.1e}')


if __name__ == '__main__':
  main()

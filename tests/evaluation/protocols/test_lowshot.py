"""Low-shot evaluation, against scikit-learn on the same labels."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from maskrep.data.sources.digits import Digits
from maskrep.errors import ConfigError
from maskrep.evaluation.features import Features, Subset
from maskrep.evaluation.metrics.logistic import draw_examples, draw_share, fit, predict, shard_examples
from maskrep.evaluation.protocols.lowshot import LowShot, LowShotMasked, lowshot, lowshot_masked
from maskrep.schema import build


class Pixels:
  """An evaluator whose features are pixels; a share of them is 0 if patches are dropped."""

  train, eval = Subset(Digits('train'), np.arange(0, 1438, 4)), Subset(Digits('test'), np.arange(0, 359, 3))

  def require_labels(self):
    return 10

  def patch_counts(self, ratio):
    return round(64 * (1 - ratio)), 64

  def features(self, source, ratio=0.0):
    x = np.array([source[i].image.reshape(-1) for i in range(len(source))], np.float32) / 255
    x[:, :round(64 * ratio)] = 0
    return Features(x, np.array([source[i].label for i in range(len(source))], np.int32))


def options(cls=LowShot, **changes):
  return cls(**{'labels_per_class': (), 'fractions': (), 'lists': (), 'draws': 2, 'l2': (0.1,), 'folds': 0} | changes)


def reference(train, labels, centre, test, test_labels, l2):
  """Accuracy in float64."""
  unit = lambda x: (x - centre) / np.linalg.norm(x - centre, axis=1, keepdims=True)  # noqa: E731
  model = LogisticRegression(C=1 / l2, tol=1e-8, max_iter=10_000).fit(unit(train.astype(float)), labels)
  return model.score(unit(test.astype(float)), test_labels)


def test_subsets_are_fitted_as_scikit_learn_does(tmp_path):
  evaluator = Pixels()
  train, test = evaluator.features(evaluator.train), evaluator.features(evaluator.eval)
  for i in range(2):
    listed = [evaluator.train.name(j) for j in range(7 * i, 60 + 7 * i)]
    (tmp_path / f'five{i}.txt').write_text('\n'.join(listed))
  found = lowshot(evaluator, options(labels_per_class=(3,), fractions=(0.2,), lists=(f'{tmp_path}/five*.txt',),
                                   l2=(0.1, 1.0, 10.0)), seed=5)
  assert [result.name for result in found] == ['3 labels per class', '20 %', f'{tmp_path}/five*.txt']
  draws = [draw_examples(train.labels, num_classes=10, count=3, draws=2, seed=5).reshape(2, -1),
           draw_share(train.labels, share=0.2, draws=2, seed=5), [np.arange(60), np.arange(7, 67)]]
  for result, l2, drawn in zip(found, (0.1, 1.0, 10.0), draws, strict=True):
    centres = [train.features if len(one) != 60 else train.features[one] for one in drawn]
    expected = [reference(train.features[one], train.labels[one], centre.mean(axis=0), *test, l2)
                for one, centre in zip(drawn, centres, strict=True)]
    assert result.each == pytest.approx(expected, abs=1.5 / len(test.labels))
    assert result.value == pytest.approx(np.mean(result.each)) and result.std == pytest.approx(np.std(result.each))


def test_the_share_of_a_class_is_at_least_one():
  labels = np.repeat([0, 1, 2, -1], [40, 10, 2, 9])
  for one in draw_share(labels, share=0.1, draws=3, seed=0):
    assert np.bincount(labels[one]).tolist() == [4, 1, 1]


def test_the_penalty_is_chosen_by_held_out_examples():
  found, = lowshot(Pixels(), options(fractions=(0.5,), draws=1, l2=(1e4, 0.1, 1e5), folds=3), seed=0)
  assert found.note == 'l2 0.1' and found.value > 0.8


def test_masked_training_images():
  masked_options = dict(fractions=(0.5,), draws=1, ratios=(0.0, 0.75))
  both = [lowshot_masked(Pixels(), options(LowShotMasked, **masked_options, mask_test=masked),
                         seed=0) for masked in (False, True)]
  assert [result.name for result in both[0]] == ['ratio 0, 50 %', 'ratio 0.75, 50 %']
  plain, = lowshot(Pixels(), options(fractions=(0.5,), draws=1), seed=0)
  for whole, masked in both:
    assert whole.value == plain.value > masked.value + 0.1
  assert both[0][1].value != both[1][1].value


def test_examples_may_be_split_over_devices_with_padding():
  x, y = Pixels().features(Pixels.train)
  features, labels = shard_examples(x[:101], y[:101])
  np.testing.assert_array_equal(predict(fit(features, labels, num_classes=10, l2=0.1), x),
                                predict(fit(x[:101], y[:101], num_classes=10, l2=0.1), x))


@pytest.mark.parametrize(('changes', 'message'), [
  ({}, 'must name a subset'), ({'labels_per_class': (0,)}, 'labels_per_class=.0,.: each must be at least 1'),
  ({'fractions': (1.5,)}, r'fractions=\(1.5,\): each must be in'), ({'fractions': (0.1,), 'l2': ()}, 'l2='),
  ({'fractions': (0.1,), 'l2': (1.0, 2.0)}, r'one per subset \(1\)'),
  ({'fractions': (0.1,), 'l2': (float('inf'),)}, 'l2='), ({'fractions': (0.1,), 'folds': 1}, 'folds=1'),
  ({'labels_per_class': (1,), 'folds': 3}, 'none can be held out'), ({'fractions': (0.1,), 'draws': 0}, 'draws=0')])
def test_impossible_options(changes, message):
  fields = {'labels_per_class': (), 'fractions': (), 'lists': (), 'draws': 2, 'l2': (0.1,), 'folds': 0} | changes
  with pytest.raises(ConfigError, match=f'config.lowshot.*{message}'):
    build(LowShot, fields, 'config.lowshot')


def test_what_is_not_there_is_named(tmp_path):
  with pytest.raises(ConfigError, match='class . has .* training examples, not 99'):
    lowshot(Pixels(), options(labels_per_class=(99,)), seed=0)
  with pytest.raises(ConfigError, match='none.*cannot be read'):
    lowshot(Pixels(), options(lists=(f'{tmp_path}/none*',)), seed=0)

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from maskrep.evaluation.metrics import knn


def clusters(rng, per_class=23, classes=7, width=5):
  """Overlapping clusters, shuffled: features [M, D], labels [M]."""
  labels = rng.permutation(np.repeat(np.arange(classes), per_class))
  centres = rng.normal(size=(classes, width))
  return (centres[labels] + rng.normal(size=(len(labels), width))).astype(np.float32), labels


def reference(train, labels, queries, k, temperature):
  """The vote in float64, a query at a time."""
  train, queries = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (train.astype(float), queries.astype(float)))
  predictions = []
  for query in queries:
    similarity = train @ query
    nearest = np.argsort(-similarity, kind='stable')[:k]
    votes = np.bincount(labels[nearest], np.exp(similarity[nearest] / temperature))
    predictions.append(votes.argmax())
  return np.array(predictions)


@pytest.mark.parametrize('k', [1, 10, 161])
@pytest.mark.parametrize('temperature', [0.07, 1.0])
def test_parity(k, temperature):
  rng = np.random.default_rng(0)
  train, labels = clusters(rng)
  queries = 3 * rng.normal(size=(101, train.shape[1])).astype(np.float32)
  found, nearest = map(np.asarray, knn.knn_predict(train, labels, queries, k=k, temperature=temperature))
  np.testing.assert_array_equal(found, reference(train, labels, queries, k, temperature))
  sklearn = KNeighborsClassifier(k, metric='cosine', weights=lambda distance: np.exp((1 - distance) / temperature))
  np.testing.assert_array_equal(found, sklearn.fit(train, labels).predict(queries))
  np.testing.assert_array_equal(nearest, reference(train, labels, queries, 1, temperature))


def test_chunks_change_nothing(monkeypatch):
  rng = np.random.default_rng(0)
  train, labels = clusters(rng)
  queries = rng.normal(size=(31, train.shape[1])).astype(np.float32)
  whole = knn.knn_predict(train, labels, queries, k=5)
  monkeypatch.setattr(knn, '_CHUNK_ELEMENTS', 7 * len(train))
  knn.knn_predict.clear_cache()
  np.testing.assert_array_equal(knn.knn_predict(train, labels, queries, k=5), whole)


def test_ties_go_to_the_first_example_and_to_the_nearer_class():
  train = np.array([[1, 0], [1, 0], [0, 1], [0, -1], [-1, 0]], np.float32)
  labels = np.array([4, 2, 0, 0, 1])
  query = np.array([[1, 0]], np.float32)
  assert knn.knn_predict(train, labels, query, k=1)[0].tolist() == [4]
  assert knn.knn_predict(train, labels, query, k=2)[0].tolist() == [4]
  # Two orthogonal votes of class 0 are worth 2 / e of one of class 4.
  assert knn.knn_predict(train, labels, query, k=4, temperature=1.0)[0].tolist() == [4]
  assert knn.knn_predict(train, labels, query, k=4, temperature=2.0)[0].tolist() == [0]


def test_low_temperatures_do_not_overflow():
  train = np.array([[1, 0], [1, 0.01], [1, -0.01]], np.float32)  # exp(1 / temperature) is infinite in float32
  assert knn.knn_predict(train, np.array([0, 1, 1]), train[:1], k=3, temperature=0.005)[0].tolist() == [1]
  assert knn.knn_predict(train, np.array([0, 1, 1]), train[:1], k=3, temperature=1e-5)[0].tolist() == [0]


def test_accuracy_is_a_share():
  train = np.eye(4, dtype=np.float32)
  accuracy = knn.knn_accuracy(train, np.arange(4), train, np.array([0, 1, 2, 0]), k=1, temperature=0.07)
  assert accuracy == (0.75, 0.75)
  few = np.array([[1, 0], [0.9, 0.1], [0.9, -0.1]], np.float32)  # two of class 1 outvote the nearest, of class 0
  assert knn.knn_accuracy(few, np.array([0, 1, 1]), few[:1], np.array([0]), k=3, temperature=1.0) == (0.0, 1.0)


@pytest.mark.parametrize('k', [0, 5])
def test_k_beyond_the_training_split_is_refused(k):
  train = np.eye(4, dtype=np.float32)
  with pytest.raises(ValueError, match=f'k={k}: must be in 1 ... 4'):
    knn.knn_predict(train, np.arange(4), train, k=k)


def test_recall_at_1_is_that_of_scikit_learn():
  rng = np.random.default_rng(0)
  index, labels = clusters(rng)
  queries = clusters(rng)
  sklearn = NearestNeighbors(n_neighbors=2, metric='cosine').fit(index)
  others = sklearn.kneighbors(index, return_distance=False)[:, 1]  # the first is the image itself
  assert knn.recall_at_1(index, labels) == np.mean(labels[others] == labels) < 1
  found = sklearn.kneighbors(queries[0], 1, return_distance=False)[:, 0]
  assert knn.recall_at_1(index, labels, queries) == np.mean(labels[found] == queries[1])


def test_an_image_does_not_find_itself_but_its_twin():
  index = np.array([[1, 0], [0, 1], [0, 2]], np.float32)
  assert knn.recall_at_1(index, np.array([0, 1, 1])) == pytest.approx(2 / 3)
  assert knn.recall_at_1(index, np.array([0, 1, 2])) == 0.0
  assert knn.recall_at_1(index, np.array([0, 1, 2]), (index, np.array([0, 1, 1]))) == 1.0


def test_an_index_of_one_image_has_no_other():
  with pytest.raises(ValueError, match='an index of 1 images'):
    knn.recall_at_1(np.eye(1), np.zeros(1))

import numpy as np
import pytest

from maskrep.models.position import resampling_matrix


@pytest.mark.parametrize('mode', ['bicubic', 'bilinear'])
@pytest.mark.parametrize(
  ('new', 'old'), [((6, 6), (14, 14)), ((14, 14), (6, 6)), ((5, 11), (7, 7)), ((1, 3), (2, 2)), ((37, 16), (16, 16))]
)
def test_is_pytorchs(new, old, mode):
  torch = pytest.importorskip('torch')
  x = np.random.default_rng(0).normal(size=(old[0] * old[1], 3)).astype(np.float32)
  grid = torch.from_numpy(x.T.reshape(1, 3, *old).copy())
  want = torch.nn.functional.interpolate(grid, size=new, mode=mode, align_corners=False)
  got = resampling_matrix(new, old, mode) @ x
  np.testing.assert_allclose(got, want.numpy().reshape(3, -1).T, atol=1e-5)


@pytest.mark.parametrize(('new', 'old'), [((6, 6), (14, 14)), ((9, 4), (3, 3))])
def test_keeps_constants_and_mirrors(new, old):
  matrix = resampling_matrix(new, old)
  assert matrix.shape == (new[0] * new[1], old[0] * old[1]) and matrix.dtype == np.float32
  np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)
  np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-6)


def test_same_grid_is_the_identity():
  np.testing.assert_array_equal(resampling_matrix((4, 4), (4, 4)), np.eye(16, dtype=np.float32))

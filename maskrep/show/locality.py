"""Retrieval of a box by a query crop, ExtreMA, Wu et al. 2022, arXiv:2206.04667, section 4 and Figures 3 and 6.

An encoder that is sensitive to scale and place ranks first, among boxes of an image, the one that lies in it as the
query lies in its own. Boxes are float [..., 4]: top, left, height and width as shares of the image's sides.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw

from maskrep.augment.crop import resample
from maskrep.augment.highpass import high_pass_images
from maskrep.augment.views import normalise
from maskrep.models.encoder import Preprocessing
from maskrep.types import Array

SCALES = 0.3, 0.45, 0.6, 0.75, 0.9  # of the sides of a box; the paper does not give its own
PLACES = 5  # per scale, uniformly random
BOXES = len(SCALES) * PLACES
WHOLE = np.array([0.0, 0.0, 1.0, 1.0], np.float32)
BEST = 3  # boxes drawn, besides the last
BOX, OWN = (0, 200, 80), (255, 120, 0)  # colours: of a box, and of the query's


def draw_boxes(seed: int, images: int) -> np.ndarray:
  """Draws the candidates of each image: float32 [images, 25, 4], the smallest first."""
  places = np.random.default_rng(seed).uniform(size=(images, BOXES, 2))
  return _boxes(np.repeat(SCALES, PLACES), places)


def draw_queries(seed: int, images: int) -> np.ndarray:
  """Draws one box per image, as a candidate is: float32 [images, 4]."""
  random = np.random.default_rng([seed, 1])
  return _boxes(random.choice(SCALES, images), random.uniform(size=(images, 2)))


def _boxes(scales: np.ndarray, places: np.ndarray) -> np.ndarray:
  scales = np.broadcast_to(scales, places.shape[:-1])[..., None]
  return np.concatenate([places * (1 - scales), scales, scales], axis=-1).astype(np.float32)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Intersection over union of boxes: [..., 4] and [..., 4] -> [...]."""
  starts, ends = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
  both = np.prod(np.maximum(ends - starts, 0), axis=-1)
  return both / (np.prod(a[..., 2:], axis=-1) + np.prod(b[..., 2:], axis=-1) - both)


def ranked(candidates: np.ndarray, queries: np.ndarray) -> np.ndarray:
  """Candidates by their cosine similarity with the query: [B, 25, D] and [B, D] -> int [B, 25], the nearest first."""
  candidates, queries = (each / np.maximum(np.linalg.norm(each, axis=-1, keepdims=True), 1e-12)
                         for each in (candidates, queries))
  return np.argsort(-np.einsum('bnd,bd->bn', candidates, queries), axis=1, kind='stable')


def partners(labels: np.ndarray) -> np.ndarray:
  """For each image the next one of its class, in a ring: int [B] -> int [B], -1 for a class of one and for no class."""
  found = np.full(len(labels), -1)
  for label in np.unique(labels[labels >= 0]):
    members, = np.nonzero(labels == label)
    if len(members) > 1:
      found[members] = np.roll(members, -1)
  return found


def encode_boxes(
  encode: Callable[[Array], Array], preprocessing: Preprocessing, canvases: Array, sizes: Array, boxes: Array
) -> Array:
  """Representations of boxes, each resized to the encoder's square.

  Args:
    encode: preprocessed images [M, H, W, 3] -> representations [M, D].
    preprocessing: of the encoder; the crop is replaced by the boxes.
    canvases, sizes: uint8 [B, S, S, 3] and int32 [B, 2].
    boxes: float32 [B, M, 4].

  Returns:
    float32 [B, M, D].
  """

  def crop(canvas, box):
    image = resample(canvas, box, preprocessing.size, flip=False, within=box)
    return normalise(image, preprocessing.mean, preprocessing.std)

  def one(each):
    canvas, size, boxes = each
    sides = jnp.concatenate([size, size]).astype(jnp.float32)
    images = jax.vmap(crop, in_axes=(None, 0))(canvas, boxes * sides)
    return encode(high_pass_images(images, preprocessing.high_pass_sigma))

  return jax.lax.map(one, (canvases, sizes, boxes))  # one image at a time bounds the memory


def drawn(image: np.ndarray, box: np.ndarray, side: int, colour: tuple[int, int, int] = BOX) -> np.ndarray:
  """An image with a box: uint8 [H, W, 3] -> float [side, side, 3] in [0, 1], white beside or below the image."""
  height, width = image.shape[:2]
  scale = side / max(height, width)
  high, wide = max(1, round(height * scale)), max(1, round(width * scale))
  picture = Image.new('RGB', (side, side), 'white')
  picture.paste(Image.fromarray(image).resize((wide, high), Image.Resampling.BICUBIC))
  top, left = box[:2]
  bottom, right = box[:2] + box[2:]
  corners = [left * wide, top * high, right * wide - 1, bottom * high - 1]
  ImageDraw.Draw(picture).rectangle([round(each) for each in corners], outline=colour, width=max(2, side // 48))
  return np.asarray(picture) / 255


def columns(
  images: list[np.ndarray], boxes: np.ndarray, order: np.ndarray, queries: list[np.ndarray],
  query_boxes: np.ndarray, side: int,
) -> dict[str, np.ndarray]:
  """Caption -> pictures, float [B, side, side, 3]: the query's box in its image, then the best boxes and the last.

  Args:
    images, boxes, order: B images uint8 [H, W, 3], their candidates [B, 25, 4], and the ranking of these, int [B, 25].
    queries, query_boxes: B images, and the box of each [B, 4].
    side: of a picture in pixels.
  """
  found = {'query': np.stack([drawn(*pair, side, OWN) for pair in zip(queries, query_boxes, strict=True)])}
  for rank in (*range(BEST), BOXES - 1):
    chosen = boxes[np.arange(len(boxes)), order[:, rank]]
    found[f'rank {rank + 1}'] = np.stack([drawn(*pair, side) for pair in zip(images, chosen, strict=True)])
  return found

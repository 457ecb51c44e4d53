"""Training a tokenizer: VQGAN, Esser et al. 2021, arXiv:2012.09841, section 3.1, equations (4) to (6).

One deviation: the reconstruction loss is on pixels only, as the paper's perceptual loss needs the weights of another
network. The entropy term, which keeps codes in use, is from MaskGIT's code (Chang et al. 2022, arXiv:2202.04200).
"""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp

from maskrep import rng
from maskrep.augment.views import View, make_views
from maskrep.errors import ConfigError
from maskrep.methods import losses
from maskrep.methods.microbatch import in_microbatches
from maskrep.methods.rules import standard_rules
from maskrep.models.discriminator import PatchDiscriminator
from maskrep.models.encoder import Preprocessing
from maskrep.models.vqgan import TINY, VQGAN, code_scores, straight_through
from maskrep.schema import NonNegative, NonNegativeInt, OneOf, Positive, Reader, check
from maskrep.types import Array, Aux, Batch, Network, Params, Views

RECONSTRUCTIONS = {'l2': jnp.square, 'l1': jnp.abs}


def code_entropies(scores: Array, temperature: float) -> tuple[Array, Array]:
  """Mean entropy of the soft assignments, and entropy of the mean assignment: [M, P] -> two scalars, in nats."""
  log_p = jax.nn.log_softmax(scores / temperature, axis=-1)
  return jnp.mean(losses.entropy(log_p)), losses.entropy(losses.log_mean(log_p))


def hinge(real: Array, fake: Array) -> Array:
  """Hinge loss of the discriminator: 0 if logits are above 1 for images and below -1 for reconstructions."""
  return (jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + fake))) / 2


def psnr(images: Array, reconstructions: Array) -> Array:
  """Peak signal-to-noise ratio per image, in dB: [B, H, W, 3], clipped to [0, 1] -> [B]."""
  error = jnp.mean((images - jnp.clip(reconstructions, 0, 1)) ** 2, axis=(1, 2, 3))
  return -10 * jnp.log10(jnp.maximum(error, 1e-10))


def perplexity(ids: Array, size: int) -> Array:
  """Perplexity of the codes in int32 ids [M], out of `size`: the number of evenly used codes with the same entropy."""
  share = jnp.bincount(ids, length=size) / ids.size
  return jnp.exp(-jnp.sum(jax.scipy.special.xlogy(share, share)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainVQGAN:
  """Trains a tokenizer to reconstruct images, optionally with a discriminator between images and reconstructions.

  Attributes:
    tokenizer: a VQGAN.
    discriminator: images [B, H, W, 3] -> logits [B, h, w]; images must be processed independently.
    view: recipe of the crop and the flip; not normalised, so that pixels stay in [0, 1].
    preprocessing: preprocessing of images in evaluation and export.
    reconstruction_kind: 'l2' or 'l1', mean over pixels.
    commitment_weight: beta, weight of the encoder's distance to its code; the codebook term has weight 1.
    entropy_weight, entropy_temperature: weight of the entropy term, and temperature of its softmax over -|z - e|^2
      (MaskGIT's code: 0.1, 0.01).
    discriminator_weight: weight of the generator's term; 0 turns the discriminator off.
    adaptive_weight: whether equation (7) also weights the generator's term, so that its gradient at the decoder's last
      layer is as long as that of the reconstruction. Costs up to one more pass through each model.
    discriminator_start_step: the first step with adversarial losses.
    microbatch: images of the global batch that each model processes at once; 0 is all.
  """

  tokenizer: Network
  discriminator: Network
  view: View
  preprocessing: Preprocessing
  reconstruction_kind: Annotated[str, OneOf(RECONSTRUCTIONS)]
  commitment_weight: NonNegative
  entropy_weight: NonNegative
  entropy_temperature: Positive
  discriminator_weight: NonNegative
  adaptive_weight: bool
  discriminator_start_step: NonNegativeInt
  microbatch: NonNegativeInt

  rules = staticmethod(standard_rules)
  reads, masked, pooling = ('image', 'size', 'position'), {}, 'class_token'
  frozen, exact_microbatches = None, True

  __post_init__ = check

  @property
  def backbone(self) -> tuple[str, Network]:
    return 'tokenizer', self.tokenizer

  def init(self, key: Array) -> tuple[Params, dict]:
    tokenizer_key, discriminator_key = jax.random.split(key)
    images = jnp.zeros((2, self.view.size, self.view.size, 3))
    params = {'tokenizer': self.tokenizer.init(tokenizer_key, images)['params']}
    if self.discriminator_weight:
      params['discriminator'] = self.discriminator.init(discriminator_key, images)['params']
    return params, {}

  def views(self, key: Array, batch: Batch) -> Views:
    keys = rng.per_example(key, batch['position'])
    return {'image': make_views(keys, batch['image'], batch['size'], self.view, 1)[:, 0]}

  def loss(
    self, params: Params, views: Views, *, key: Array, step: Array, ema_params: Params, model_state: dict, frozen: None
  ) -> tuple[Array, Aux]:
    images, codebook = views['image'], params['tokenizer']['codebook']

    # Tokens. Codes come from a matrix product: a GPU sums the gradient of indexing in no fixed order.
    z = in_microbatches(lambda x: self._tokenizer(params, 'encode', x), self.microbatch, images)
    scores = code_scores(z, codebook)
    ids = jnp.argmax(scores, axis=-1)
    codes = jnp.matmul(jax.nn.one_hot(ids, len(codebook)), codebook, precision=jax.lax.Precision.HIGHEST)

    # Equation (4): reconstruction, distance of the codes to the encoder's output, and commitment.
    latents = straight_through(z, codes)
    made = self._decode(params, latents)
    reconstruction = self._distance(made, images)
    codebook_loss = jnp.mean((jax.lax.stop_gradient(z) - codes) ** 2)
    commitment = jnp.mean((z - jax.lax.stop_gradient(codes)) ** 2)
    # Entropy: low for each token, high for the mean over the global batch.
    token_entropy, codebook_entropy = code_entropies(scores.reshape(-1, len(codebook)), self.entropy_temperature)
    loss = reconstruction + codebook_loss + self.commitment_weight * commitment
    loss += self.entropy_weight * (token_entropy - codebook_entropy)

    metrics = {
      'reconstruction': reconstruction,
      'commitment': commitment,
      'token_entropy': token_entropy,
      'codebook_entropy': codebook_entropy,
      'perplexity': perplexity(ids.reshape(-1), len(codebook)),
      'codes_in_use': jnp.sum(jnp.zeros(len(codebook)).at[ids.reshape(-1)].set(1.0)),
      'psnr': jnp.mean(psnr(images, made)),
      'feature_std': losses.feature_std(codes.mean((1, 2))),
    }
    if self.discriminator_weight:
      # Equation (5), with hinge losses: one loss, in which each side is constant for the other.
      generator = -jnp.mean(self._logits(jax.lax.stop_gradient(params), made))
      discriminator = hinge(self._logits(params, images), self._logits(params, jax.lax.stop_gradient(made)))
      started = (step >= self.discriminator_start_step) * 1.0
      weight = self.discriminator_weight
      if self.adaptive_weight:
        weight *= self._adaptive_weight(*jax.lax.stop_gradient((params, latents, images)))
        metrics['generator_weight'] = weight
      loss += started * (weight * generator + discriminator)
      metrics |= {'generator': generator, 'discriminator': discriminator}
    metrics['loss'] = loss
    return loss, Aux(jax.tree.map(jax.lax.stop_gradient, metrics), model_state)

  def encode(self, params: Params, model_state: dict, images: Array, keep_idx: Array | None = None) -> dict[str, Array]:
    """Codes of images in [0, 1], row by row, and their mean.

    Raises:
      ValueError: `keep_idx` is given; a tokenizer cannot leave out patches.
    """
    if keep_idx is not None:
      raise ValueError('keep_idx: a tokenizer cannot leave out patches')
    ids = self._tokenizer(params, 'ids', images)
    codes = params['tokenizer']['codebook'][ids.reshape(len(images), -1)]
    return {'cls': codes.mean(axis=1), 'patches': codes}

  def reconstruct(self, params: Params, images: Array) -> Array:
    """Reconstructs images from their tokens: float32 [B, H, W, 3] in [0, 1] -> the same shape, not clipped."""
    return self.tokenizer.apply({'params': params['tokenizer']}, images)

  def _adaptive_weight(self, params, latents, images) -> Array:
    """Weight of equation (7), at most 10 000 as in the authors' code."""

    def length(loss):
      def of_last(kernel):
        decoder = params['tokenizer']['decoder']
        decoder = decoder | {'conv_out': decoder['conv_out'] | {'kernel': kernel}}
        return loss(self._decode({'tokenizer': params['tokenizer'] | {'decoder': decoder}}, latents))

      return jnp.linalg.norm(jax.grad(of_last)(params['tokenizer']['decoder']['conv_out']['kernel']).ravel())

    reconstruction = length(lambda made: self._distance(made, images))
    generator = length(lambda made: -jnp.mean(self._logits(params, made)))
    return jnp.minimum(reconstruction / (generator + 1e-6), 1e4)

  def _distance(self, made, images) -> Array:
    return jnp.mean(RECONSTRUCTIONS[self.reconstruction_kind](made - images))

  def _decode(self, params, latents) -> Array:
    return in_microbatches(lambda x: self._tokenizer(params, 'decode', x), self.microbatch, latents)

  def _tokenizer(self, params, method, x) -> Array:
    return self.tokenizer.apply({'params': params['tokenizer']}, x, method=method)

  def _logits(self, params, images) -> Array:
    see = lambda x: self.discriminator.apply({'params': params['discriminator']}, x)  # noqa: E731
    return in_microbatches(see, self.microbatch, images)


def from_config(read: Reader) -> TrainVQGAN:
  """Reads the sections views, tokenizer, discriminator and objective."""
  views, tokenizer = read('views', View), read('tokenizer', VQGAN, dtype=read.dtype)
  if (views.mean, views.std) != ((0.0,) * 3, (1.0,) * 3):
    raise ConfigError(f'config.views.mean={views.mean}, std={views.std}: must be 0 and 1, as pixels stay in [0, 1]')
  if views.size % tokenizer.stride:
    raise ConfigError(f'config.views.size={views.size}: must be a multiple of the stride {tokenizer.stride} of the '
                      'tokenizer')
  return read(
    'objective', TrainVQGAN, tokenizer=tokenizer,
    discriminator=read('discriminator', PatchDiscriminator, dtype=read.dtype), view=views,
    preprocessing=Preprocessing.of(views, read['eval'].crop_fraction), microbatch=read['train'].microbatch)


def tiny(config) -> None:
  """Makes the sections that `from_config` reads small, for tests."""
  config.views.size = 16
  config.discriminator.update(width=8, layers=2, groups=4)
  config.tokenizer.update(**TINY)

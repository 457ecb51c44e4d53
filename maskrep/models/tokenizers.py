"""The published tokenizers whose weights `VQGAN` can hold. Both turn 256x256 pixels into 16x16 tokens."""

import dataclasses

from maskrep.models.vqgan import VQGAN


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tokenizer:
  """A published file of weights.

  Attributes:
    model: the architecture, with input range, stride and codebook size.
    repository: where the authors link the file.
    sha256: of the file, in hex; None where nobody has pinned it, so that a loader cannot tell a damaged file.
  """

  model: VQGAN
  repository: str
  sha256: str | None


_SHARED = dict(channels=128, multipliers=(1, 1, 2, 2, 4), encoder_blocks=2, embedding=256, codebook_size=1024)

TOKENIZERS = {
  'vqgan_imagenet_f16_1024': Tokenizer(
    model=VQGAN(**_SHARED, decoder_blocks=3, input_range=(-1.0, 1.0), design='taming', attention_levels=(4,)),
    repository='https://github.com/CompVis/taming-transformers', sha256=None),
  'tokenizer_imagenet256': Tokenizer(
    model=VQGAN(**_SHARED, decoder_blocks=2, input_range=(0.0, 1.0), design='maskgit'),
    repository='https://github.com/google-research/maskgit', sha256=None),
}

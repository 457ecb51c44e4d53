"""Small encoders and tokenizers with random weights, the published tokenizers, and the commands on them."""

import dataclasses
import json

import numpy as np

from maskrep.models.vqgan import VQGAN as VQGANModule
from maskrep.weights.pretrained import IMAGENET, Pretrained, initial

SIZES = {'patch_size': 4, 'width': 24, 'depth': 2, 'heads': 3, 'mlp_ratio': 2.0, 'image_size': 12}
VIT = SIZES | {'class_token': True}
CAIT = SIZES | {'class_depth': 2, 'instance': 'class_attention', 'layer_scale': 0.1, 'positions': 'sincos',
              'trunk_scale': 0.0, 'talking_heads': False}
VQGAN = {'channels': 32, 'multipliers': (1, 2), 'encoder_blocks': 1, 'decoder_blocks': 2, 'embedding': 12,
         'codebook_size': 23, 'input_range': (-1.0, 1.0), 'design': 'taming', 'attention_levels': (1,), 'groups': 32}
MASKGIT = VQGAN | {'decoder_blocks': 1, 'input_range': (0.0, 1.0), 'design': 'maskgit', 'attention_levels': ()}
# The published tokenizers, by the names of their files; both turn 256 x 256 pixels into 16 x 16 tokens.
SHARED = dict(channels=128, multipliers=(1, 1, 2, 2, 4), encoder_blocks=2, embedding=256, codebook_size=1024)
PUBLISHED = {
  'vqgan_imagenet_f16_1024': VQGANModule(
    **SHARED, decoder_blocks=3, input_range=(-1.0, 1.0), design='taming', attention_levels=(4,)),
  'tokenizer_imagenet256': VQGANModule(**SHARED, decoder_blocks=2, input_range=(0.0, 1.0), design='maskgit'),
}
RESNET = {'depth': 18, 'width': 1.0, 'stem': 'imagenet'}


def pretrained(kind, config):
  """A network of random arrays, with scales of norms above 0; small in ConvNets, so that features stay of order 1."""
  generator = np.random.default_rng(0)
  matrices, vectors = (0.0, 0.2) if kind in ('resnet', 'vqgan') else (0.2, 1.0)
  arrays = {}
  for name, value in initial(kind, config).items():
    noise = generator.uniform(-0.5, 0.5, value.shape) * (matrices if value.ndim > 1 else vectors)
    arrays[name] = (value * (0.8 if kind == 'resnet' and name.endswith('scale') else 1) + noise).astype(np.float32)
  return Pretrained(kind=kind, config=config, arrays=arrays, source={'licence': 'none'},
                    preprocessing=dataclasses.replace(IMAGENET, size=32))


def run(command, code=0, **flags):
  """Runs a command, which must exit with this code."""
  assert command.main(['', *(f'--{name}={value}' for name, value in flags.items())]) == code


def proof(folder):
  """The certificate in a folder, which must be verified at two sizes."""
  certificate = json.loads((folder / 'parity.json').read_text())
  assert certificate['verified'], certificate['status']
  assert len(certificate['max_abs_difference']) == 2 and max(certificate['max_abs_difference'].values()) < 1e-4
  assert min(certificate['max_abs_feature'].values()) > 0.1
  print(certificate['status'])
  return certificate

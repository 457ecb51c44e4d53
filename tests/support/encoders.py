"""Small encoders with weights that all matter, and the commands on them."""

import json

import numpy as np

from maskrep.weights.pretrained import IMAGENET, Pretrained, initial

VIT = {'patch_size': 4, 'width': 24, 'depth': 2, 'heads': 3, 'mlp_ratio': 2.0, 'image_size': 12}
CAIT = VIT | {'class_depth': 2, 'instance': 'class_attention', 'layer_scale': 0.1, 'positions': 'sincos',
              'trunk_scale': 0.0, 'talking_heads': False}
VQGAN = {'channels': 32, 'multipliers': (1, 2), 'encoder_blocks': 1, 'decoder_blocks': 2, 'embedding': 12,
         'codebook_size': 23, 'input_range': (-1.0, 1.0), 'design': 'taming', 'attention_levels': (1,), 'groups': 32}
MASKGIT = VQGAN | {'decoder_blocks': 1, 'input_range': (0.0, 1.0), 'design': 'maskgit', 'attention_levels': ()}
RESNET = {'depth': 18, 'width': 1.0, 'stem': 'imagenet'}


def pretrained(kind, config):
  """Random arrays, of norms above 0; those of ConvNets are so small that features stay of order 1."""
  generator = np.random.default_rng(0)
  matrices, vectors = (0.0, 0.2) if kind in ('resnet', 'vqgan') else (0.2, 1.0)
  arrays = {}
  for name, value in initial(kind, config).items():
    noise = generator.uniform(-0.5, 0.5, value.shape) * (matrices if value.ndim > 1 else vectors)
    arrays[name] = (value * (0.8 if kind == 'resnet' and name.endswith('scale') else 1) + noise).astype(np.float32)
  return Pretrained(kind=kind, config=config, arrays=arrays, preprocessing=IMAGENET | {'size': 32},
                    source={'licence': 'none'})


def run(command, code=0, **flags):
  assert command.main(['', *(f'--{name}={value}' for name, value in flags.items())]) == code


def proof(folder):
  """The certificate there, which must be one."""
  found = json.loads((folder / 'parity.json').read_text())
  assert found['verified'], found['status']
  assert len(found['max_abs_difference']) == 2 and max(found['max_abs_difference'].values()) < 1e-4
  assert min(found['max_abs_feature'].values()) > 0.1
  print(found['status'])
  return found

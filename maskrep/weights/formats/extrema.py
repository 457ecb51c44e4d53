"""ExtreMA's checkpoints: `state_dict`, with the teacher as `module.momentum_encoder.*` and its projector as `head`.

The encoder is CaiT's class attention on a plain ViT. Its file stores the fixed positions as an array.
"""

import dataclasses

from maskrep.errors import ConfigError
from maskrep.weights import files, names
from maskrep.weights.formats import channels, timm_cait
from maskrep.weights.pretrained import IMAGENET, ForeignNetwork

KINDS = ('cait',)
SUFFIXES = ('.tar', '.pth', '.pt')
LICENCE = 'unknown: see where the file is from'
PREFIX = 'module.momentum_encoder.'
NAMES = timm_cait.table('blocks_token')
# The names in a torch.nn.Sequential of linear layers, each but the last followed by a norm and a GELU.
HEADS = {f'{ours}.{layer}{i}': f'{theirs}.{3 * (i - 1) + place}' for ours, theirs in
         (('projector', f'{PREFIX}head'), ('predictor', 'module.predictor'))
         for place, layer in enumerate(('fc', 'norm')) for i in range(1, 10)}


def to_foreign(arrays, config):
  units = {name: value for name, value in timm_cait.units(config).items() if name.startswith('class_')}
  return names.to_foreign(NAMES, units | timm_cait.with_positions(arrays, config))


def from_foreign(state, config, wanted):
  return names.from_foreign(NAMES, state, wanted)


def read(what, path, options):
  """The teacher without its head."""
  arrays = files.read(path)
  state = names.without(f'state_dict.{PREFIX}', arrays)
  if not state:
    raise ConfigError(f'{what}: has no state_dict.{PREFIX}* but for example {next(iter(arrays))}; give the --format '
                      'that it has')
  state = {name: value for name, value in state.items() if not name.startswith('head.')}
  state = channels.three(what, state, 'patch_embed.proj.weight', options)
  config = timm_cait.sizes(what, NAMES, state, options.heads)
  preprocessing = dataclasses.replace(IMAGENET, size=config['image_size'])
  return ForeignNetwork(state, 'cait', config, preprocessing, {'licence': LICENCE})


def write(path, state, pretrained, run):
  contents = names.with_prefix(PREFIX, state)
  if run is not None:
    if run.method != 'extrema':
      raise ConfigError(f'--what=full: a run of {run.method} does not have the heads of ExtreMA; choose --what=encoder')
    # The teacher's projector; only the student has a predictor.
    heads = [names.with_prefix(f'{head}.', names.without(f'{head}.', params))
             for head, params in (('projector', run.ema_params), ('predictor', run.params))]
    contents |= names.to_foreign(HEADS, heads[0] | heads[1])
  files.write_torch(path, {'state_dict': contents} | ({} if run is None else {'epoch': run.epoch}))
  return path


def peer(state, config, side):
  """The authors' code is not a package; timm's `Cait` has the same layers."""
  renamed = {name.replace('blocks_token.', 'blocks_token_only.'): value for name, value in state.items()}
  units = names.to_foreign(timm_cait.NAMES, timm_cait.units(config))
  name, forward = timm_cait.peer(units | renamed, config, side)
  return f"{name} in place of the authors' code", forward

"""ExtreMA's checkpoints: `state_dict`, in it the teacher as `module.momentum_encoder.*`, with its projector as `head`.

The encoder is CaiT's class attention on a plain ViT. Theirs keeps its fixed positions as an array.
"""

from maskrep.errors import ConfigError
from maskrep.weights import files, names
from maskrep.weights.formats import channels, timm_cait
from maskrep.weights.pretrained import IMAGENET, Found

KINDS = ('cait',)
SUFFIXES = ('.tar', '.pth', '.pt')
LICENCE = 'not known: see where the file is from'
PREFIX = 'module.momentum_encoder.'
NAMES = timm_cait.table('blocks_token')
# Heads by width. Not of 384: MoCo v3's code gives that 12, others 6.
KNOWN = {768: 12, 1024: 16}
# Of a torch.nn.Sequential of linear layers, each but the last with a norm and a GELU behind it.
HEADS = {f'{ours}.{layer}{i}': f'{theirs}.{3 * (i - 1) + place}' for ours, theirs in
         (('projector', f'{PREFIX}head'), ('predictor', 'module.predictor'))
         for place, layer in enumerate(('fc', 'norm')) for i in range(1, 10)}


def to_foreign(arrays, config):
  units = {name: value for name, value in timm_cait.units(config).items() if name.startswith('class_')}
  return names.to_foreign(NAMES, units | timm_cait.with_positions(arrays, config))


def from_foreign(state, config, wanted):
  return names.from_foreign(NAMES, state, wanted)


def read(what, path, asked):
  """The teacher without its head."""
  held = files.read(path)
  state = names.without(f'state_dict.{PREFIX}', held)
  if not state:
    raise ConfigError(f'{what}: has no state_dict.{PREFIX}* but for example {next(iter(held))}; give the --format that '
                      'it has')
  state = {name: value for name, value in state.items() if not name.startswith('head.')}
  state = channels.three(what, state, 'patch_embed.proj.weight', asked)
  config = timm_cait.sizes(what, NAMES, state, asked.heads, KNOWN)
  return Found(state, 'cait', config, IMAGENET | {'size': config['image_size']}, {'licence': LICENCE})


def write(path, state, pretrained, run):
  contents = names.with_prefix(PREFIX, state)
  if run is not None:
    if run.method != 'extrema':
      raise ConfigError(f'--what=full: a run of {run.method} has no heads of ExtreMA; choose --what=encoder')
    # The teacher's projector; only the student has a predictor.
    heads = [names.with_prefix(f'{head}.', names.without(f'{head}.', params))
             for head, params in (('projector', run.ema_params), ('predictor', run.params))]
    contents |= names.to_foreign(HEADS, heads[0] | heads[1])
  files.write_torch(path, {'state_dict': contents} | ({} if run is None else {'epoch': run.epoch}))
  return path


def peer(state, config, side):
  """The authors' code is no package; timm's `Cait` has the same layers."""
  renamed = {name.replace('blocks_token.', 'blocks_token_only.'): value for name, value in state.items()}
  units = names.to_foreign(timm_cait.NAMES, timm_cait.units(config))
  name, forward = timm_cait.peer(units | renamed, config, side)
  return f"{name} in the place of the authors' code", forward

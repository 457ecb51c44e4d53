"""facebookresearch/msn's `.pth.tar`: `target_encoder`, the EMA, as DistributedDataParallel names it.

The ViT is DINO's; its projection head is `fc`, which only a file of the complete run has.
"""

import dataclasses

from maskrep.errors import ConfigError
from maskrep.weights import files, names
from maskrep.weights.formats import channels, timm_vit, torch_vit
from maskrep.weights.pretrained import IMAGENET, ForeignNetwork

KINDS = ('vit',)
SUFFIXES = ('.tar', '.pth', '.pt')
LICENCE = 'CC BY-NC 4.0, if it is from facebookresearch/msn'
HEAD = {f'{part}{i}': f'fc.{part}{i}' for part in ('fc', 'bn') for i in range(1, 10)}

from_foreign = timm_vit.from_foreign


def to_foreign(arrays, config):
  torch_vit.need_class_token('msn', config)
  return timm_vit.to_foreign(arrays, config)


def read(what, path, options):
  arrays = files.read(path)
  state = names.without('target_encoder.module.', arrays)
  if not state:
    raise ConfigError(f'{what}: has no target_encoder.module.* but for example {next(iter(arrays))}; give the --format '
                      'that it has')
  state = {name: value for name, value in state.items() if not name.startswith('fc.')}
  state = channels.three(what, state, 'patch_embed.proj.weight', options)
  config = torch_vit.vit_sizes(what, torch_vit.NAMES, state, options.heads)
  preprocessing = dataclasses.replace(IMAGENET, size=config['image_size'])
  return ForeignNetwork(state, 'vit', config, preprocessing, {'licence': LICENCE})


def write(path, state, pretrained, run):
  contents = {'target_encoder': state}
  if run is not None:
    if run.method != 'msn':
      raise ConfigError(f'--what=full: a run of {run.method} does not have the head and prototypes of MSN; choose '
                        '--what=encoder')
    student = names.to_foreign(torch_vit.NAMES, names.without('encoder.', run.params))
    # One set of batch statistics serves both heads.
    stats = names.without('batch_stats.', run.model_state)
    student |= names.to_foreign(HEAD, names.without('head.', run.params) | stats)
    teacher = state | names.to_foreign(HEAD, names.without('head.', run.ema_params) | stats)
    contents = {'target_encoder': teacher, 'encoder': student}
  contents = {part: names.with_prefix('module.', arrays) for part, arrays in contents.items()}
  if run is not None:
    contents |= {'prototypes': run.params['prototypes'], 'epoch': run.epoch}
  files.write_torch(path, contents)
  return path


def peer(state, config, side):
  """facebookresearch/msn is not a package; timm's ViT has the same layers under the same names."""
  name, forward = timm_vit.peer(state, config, side)
  return f'{name} in place of facebookresearch/msn', forward

"""facebookresearch/msn's `.pth.tar`: `target_encoder`, the EMA, as DistributedDataParallel names it.

The ViT is DINO's; the projection head hangs on it as `fc`, and is in the file where the whole run is.
"""

from maskrep.errors import ConfigError
from maskrep.weights import files, names
from maskrep.weights.formats import channels, timm_vit, torch_vit
from maskrep.weights.pretrained import IMAGENET, Found

KINDS = ('vit',)
SUFFIXES = ('.tar', '.pth', '.pt')
LICENCE = 'CC BY-NC 4.0, where it is from facebookresearch/msn'
HEAD = {f'{part}{i}': f'fc.{part}{i}' for part in ('fc', 'bn') for i in range(1, 10)}

to_foreign, from_foreign = timm_vit.to_foreign, timm_vit.from_foreign


def read(what, path, asked):
  held = files.read(path)
  state = names.without('target_encoder.module.', held)
  if not state:
    raise ConfigError(f'{what}: has no target_encoder.module.* but for example {next(iter(held))}; give the --format '
                      'that it has')
  state = {name: value for name, value in state.items() if not name.startswith('fc.')}
  state = channels.three(what, state, 'patch_embed.proj.weight', asked)
  config = torch_vit.sizes(what, torch_vit.NAMES, state, asked.heads)
  return Found(state, 'vit', config, IMAGENET | {'size': config['image_size']}, {'licence': LICENCE})


def write(path, state, pretrained, run):
  contents = {'target_encoder': state}
  if run is not None:
    if run.method != 'msn':
      raise ConfigError(f'--what=full: a run of {run.method} has no head and prototypes of MSN; choose --what=encoder')
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
  """facebookresearch/msn is no package; timm's ViT has the same layers under the same names."""
  name, forward = timm_vit.peer(state, config, side)
  return f'{name} in the place of facebookresearch/msn', forward

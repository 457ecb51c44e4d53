"""The MSN step written plainly in PyTorch on timm's ViT: the common way today, for comparison."""

import copy

import numpy as np
import torch
from torch import nn
import torch.nn.functional as F

# torchvision's compiled part does not load beside a CPU build of torch; timm only needs these names to exist.
_OPERATORS = torch.library.Library('torchvision', 'FRAGMENT')
for _name in ('nms', 'qnms'):
  try:
    _OPERATORS.define(f'{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
  except RuntimeError:
    pass  # the compiled part has loaded and defined them

from timm.models.vision_transformer import VisionTransformer  # noqa: E402


class Network(nn.Module):
  """timm's ViT with masked patches gathered, and MSN's head."""

  def __init__(self, config):
    super().__init__()
    e, h = config.encoder, config.head
    self.vit = VisionTransformer(img_size=config.views.size, patch_size=e.patch_size, embed_dim=e.width, depth=e.depth,
                                 num_heads=e.heads, num_classes=0, dynamic_img_size=True, global_pool='token')
    sizes = [e.width, *[h.hidden] * (h.layers - 1)]
    hidden = [layer for a, b in zip(sizes, sizes[1:], strict=False)
              for layer in (nn.Linear(a, b), nn.BatchNorm1d(b), nn.GELU())]
    self.head = nn.Sequential(*hidden, nn.Linear(sizes[-1], h.output))

  def represent(self, images, keep=None):
    vit = self.vit
    side = images.shape[-1] // vit.patch_embed.patch_size[0]
    pos, cls_pos = vit.pos_embed[:, 1:], vit.pos_embed[:, :1]
    native = int(pos.shape[1] ** 0.5)
    if side != native:
      grid = pos.reshape(1, native, native, -1).permute(0, 3, 1, 2)
      pos = F.interpolate(grid, size=(side, side), mode='bicubic').flatten(2).transpose(1, 2)
    x = vit.patch_embed.proj(images).flatten(2).transpose(1, 2) + pos
    if keep is not None:
      x = torch.gather(x, 1, keep[..., None].expand(-1, -1, x.shape[-1]))
    x = torch.cat([(vit.cls_token + cls_pos).expand(len(x), -1, -1), x], 1)
    return vit.norm(vit.blocks(x))[:, 0]


class Step:
  """One update of MSN on given views; call it to run one."""

  def __init__(self, config, views):
    self.device = 'cuda' if torch.cuda.is_available() else 'cpu'
    torch.manual_seed(0)
    self.config = config
    tensor = lambda x: torch.from_numpy(np.array(x)).to(self.device)  # noqa: E731
    images = lambda x: tensor(x).reshape(-1, *x.shape[-3:]).permute(0, 3, 1, 2).contiguous()  # noqa: E731
    self.target, self.anchor, self.focal = (images(views[name]) for name in ('target', 'anchor', 'focal'))
    self.keep = tensor(views['keep_idx']).long()
    self.student = Network(config).to(self.device)
    self.teacher = copy.deepcopy(self.student).requires_grad_(False)
    self.prototypes = nn.Parameter(torch.rand(config.objective.num_prototypes, config.head.output, device=self.device))
    decayed = [p for p in self.student.parameters() if p.ndim > 1]
    others = [p for p in self.student.parameters() if p.ndim <= 1] + [self.prototypes]
    self.optimizer = torch.optim.AdamW([{'params': decayed, 'weight_decay': 0.04},
                                        {'params': others, 'weight_decay': 0.0}], lr=1e-3, foreach=True)
    self.represent = (torch.compile(Network.represent) if self.device == 'cuda' else Network.represent)

  def assign(self, z, prototypes, temperature):
    return F.log_softmax(F.normalize(z.float()) @ F.normalize(prototypes).T / temperature, dim=-1)

  def __call__(self):
    with torch.autocast('cuda', torch.bfloat16, enabled=self.device == 'cuda'):
      batch, views = len(self.target), self.config.views.num_random + self.config.views.num_focal
      with torch.no_grad():
        z = self.teacher.head(self.represent(self.teacher, self.target))
        q = self.assign(z, self.prototypes, self.config.objective.target_temperature).exp()
        for _ in range(self.config.objective.sinkhorn_iterations):
          q = q / q.sum(0, keepdim=True)
          q = q / q.sum(1, keepdim=True)
      masked = self.represent(self.student, self.anchor, self.keep).reshape(batch, -1, self.config.encoder.width)
      focal = self.represent(self.student, self.focal).reshape(batch, -1, self.config.encoder.width)
      joint = self.config.objective.batch_norm == 'joint'
      groups = [torch.cat([masked, focal], 1)] if joint else [masked, focal]
      projected = [self.student.head(each.flatten(0, 1)).unflatten(0, (batch, -1)) for each in groups]
      z = torch.cat(projected, 1).flatten(0, 1)
    log_p = self.assign(z, self.prototypes, self.config.objective.temperature)
    mean = log_p.exp().mean(0)
    loss = -(q.repeat_interleave(views, 0) * log_p).sum(-1).mean() + (mean * mean.log()).sum()
    self.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(self.student.parameters(), self.config.optim.clip_norm)
    self.optimizer.step()
    with torch.no_grad():
      torch._foreach_lerp_(list(self.teacher.parameters()), list(self.student.parameters()), 0.004)
    if self.device == 'cuda':
      torch.cuda.synchronize()
    return loss.item()

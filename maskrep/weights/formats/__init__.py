"""Formats of weights: a module per format. Here are their names, for command lines, which do not import jax."""

ARRAYS = ('timm', 'hf_msn', 'msn', 'timm_cait', 'extrema', 'torchvision', 'detectron2', 'taming', 'maskgit',
          'safetensors', 'npz')
FORWARD = 'saved_model', 'onnx'  # with the forward pass, for export only

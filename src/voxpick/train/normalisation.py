"""Statistics of batch normalisation for averaged weights.

A moving average of weights has the running means and variances of another network: that of the last few batches in
training. Izmailov et al. (2018), Averaging Weights Leads to Wider Optima and Better Generalization (arXiv:1803.05407,
section 3.2), compute them anew with the averaged weights; so does this, over batches drawn as in training.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from voxpick.train.patches import Sampler, draw_batch


def settle_normalisation(
    network: torch.nn.Module, sampler: Sampler, *, batches: int, batch: int, seed: int, device: torch.device
) -> None:
    """Replace the running statistics in place by those over `batches` batches of `batch` patches.

    The draws are a function of `seed` alone, and torch's random state is left as it was. Without batch normalisation,
    or for no batches, nothing is done.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    if not layers or batches < 1:
        return
    momenta, was_training = [layer.momentum for layer in layers], network.training
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over all batches
    rng = np.random.default_rng([seed, 1])
    network.train()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for _ in range(batches):
            images, _labels = draw_batch(sampler, rng, batch=batch)
            network(images.to(device))
    network.train(was_training)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum

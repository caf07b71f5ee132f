"""Networks by name."""

from collections.abc import Callable

import torch

from voxpick.networks.msdnet import MSDNet

NETWORKS: dict[str, Callable[..., torch.nn.Module]] = {"msdnet": MSDNet}

"""Networks by name."""

from collections.abc import Callable

import torch

from voxpick.networks.densenet import DenseNet
from voxpick.networks.msdnet import MSDNet
from voxpick.networks.resnet3d import ResNet3D
from voxpick.networks.yopo import YOPO

NETWORKS: dict[str, Callable[..., torch.nn.Module]] = {
    "densenet": DenseNet,
    "msdnet": MSDNet,
}

"""Networks by name."""

from collections.abc import Callable

import torch

from voxpick.networks.densenet import DenseNet
from voxpick.networks.dncnn import DnCNN
from voxpick.networks.msdnet import MSDNet
from voxpick.networks.picknet import PickNet
from voxpick.networks.resnet3d import ResNet3D
from voxpick.networks.umc import UMC
from voxpick.networks.unet import UNet
from voxpick.networks.unet3d import UNet3D
from voxpick.networks.yopo import YOPO

NETWORKS: dict[str, Callable[..., torch.nn.Module]] = {
    "densenet": DenseNet,
    "dncnn": DnCNN,
    "msdnet": MSDNet,
    "picknet": PickNet,
    "resnet3d": ResNet3D,
    "umc": UMC,
    "unet": UNet,
    "unet3d": UNet3D,
    "yopo": YOPO,
}

"""A larger PickNet that computes what a smaller one does, to go on training from its weights.

python benchmarks/accuracy/widen.py MODEL.pt --widths 32 96 128 --blocks 2 4 4 --output LARGER.pt
As Chen, Goodfellow and Shlens (2016, Net2Net, arXiv:1511.05641) begin a larger network, but simpler: new blocks are the
identity and nothing that was there listens to new channels, which begin at random, until training has it listen.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from voxpick.errors import VoxpickError
from voxpick.io.model import load_models, save_models
from voxpick.networks.picknet import PickNet

State = dict[str, torch.Tensor]
STAGE = "picker"


def widened(old: State, new: State) -> State:
    """`new`, a larger network's first state, with what `old` knows in the first channels of everything.

    Raises VoxpickError where a tensor of `old` has no larger or equal one of its name.
    """
    result = {name: value.clone() for name, value in new.items()}
    for name, value in old.items():
        fitting = name in new and new[name].ndim == value.ndim
        if not fitting or any(n < m for n, m in zip(new[name].shape, value.shape, strict=True)):
            raise VoxpickError(f"widen: {name} of {tuple(value.shape)} does not fit into the larger network")
        into = result[name]
        if value.ndim > 1:
            into[: value.shape[0]] = 0  # new inputs of outputs that were there
        into[tuple(slice(n) for n in value.shape)] = value
    return result


def main() -> None:
    """Read, widen, check that nothing changed, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--widths", type=int, nargs="+", required=True)
    parser.add_argument("--blocks", type=int, nargs="+", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    models = load_models(options.model)
    model = models[STAGE]
    settings = {**model.settings, "widths": options.widths, "blocks": options.blocks}
    torch.manual_seed(options.seed)
    network = PickNet(**settings)
    network.load_state_dict(widened(model.network.state_dict(), network.state_dict()))
    x = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        before, after = model.network.eval()(x), network.eval()(x)
    change = float((after - before).abs().max())
    if change > 1e-3:
        raise VoxpickError(f"widen: outputs differ by {change:g}")
    model.network, model.settings = network, settings
    save_models(options.output, models)
    count = sum(parameter.numel() for parameter in network.parameters())
    print(f"{count:,} parameters; outputs differ by {change:.1e} at most")


if __name__ == "__main__":
    main()

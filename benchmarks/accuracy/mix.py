"""Weights between two runs of one network: SHARE of LATER and the rest of EARLIER, running statistics included.

python benchmarks/accuracy/mix.py EARLIER.pt LATER.pt --share 0.3 --output MIXED.pt
What the package's own weights are made of (docs/decisions/0004); `finish.py` calibrates and tests them afterwards.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from voxpick.io.model import load_models, save_models


def main() -> None:
    """Read, mix, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("earlier", type=Path)
    parser.add_argument("later", type=Path)
    parser.add_argument("--share", type=float, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    before, mixed = load_models(options.earlier), load_models(options.later)
    for stage, model in mixed.items():
        old, new = before[stage].network.state_dict(), model.network.state_dict()
        model.network.load_state_dict({
            name: torch.lerp(old[name].float(), value.float(), options.share).to(value.dtype)
            if value.is_floating_point() else value
            for name, value in new.items()
        })  # fmt: skip
        model.detection = dict(before[stage].detection)
        about = {"share_of_this_run": options.share, "with": "the weights it started from"}
        model.provenance = {**model.provenance, "mixed": about}
    save_models(options.output, mixed)


if __name__ == "__main__":
    main()

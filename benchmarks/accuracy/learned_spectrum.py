"""Write the amplitude spectrum of training tomograms into a model file that was made before models had one.

python benchmarks/accuracy/learned_spectrum.py MODEL.pt TRAIN/model_* [--output OTHER.pt]
`voxpick train` does it by itself. All stages of the file get the same.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from voxpick.cli.training_data import read_training_volume
from voxpick.io.model import load_models, save_models, stored_dtype
from voxpick.methods.training_spectrum import mean_spectrum


def main() -> None:
    """Measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    models = load_models(options.model)
    spectrum = mean_spectrum([read_training_volume(folder) for folder in options.folders])
    for model in models.values():
        model.spectrum = spectrum
    save_models(options.output or options.model, models, dtype=stored_dtype(options.model))
    print([round(value, 3) for value in spectrum or []])


if __name__ == "__main__":
    main()

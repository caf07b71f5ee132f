"""What every detector does first: bring a tomogram to the model's voxel size, find its ice, know its intensities."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voxpick.allocation import keep_freed_memory
from voxpick.detect.convolution import filtered
from voxpick.detect.rescale import rescaled, same_voxel_size
from voxpick.detect.settings import SharedSettings
from voxpick.detect.slab import BIN, Slab, choose_slab
from voxpick.detect.spectrum import CUBE, FREQUENCIES, amplitudes, change, gains_to, kernel_of
from voxpick.errors import VoxpickError
from voxpick.precision import choose_device
from voxpick.volume import Volume, intensity_statistics

SLAB_MARGIN = 120.0
"""A, beyond the sections where the ice was found and one bin of them, by which it may fall short of the particles
(benchmarks/accuracy/slab_margin.py): as much as the network needs around a particle."""

CLEARLY_SKEWED = 3.5
"""Standard errors of the mean skewness of its sections beyond which a tomogram's contrast is told by its sign. Dense
specimens of 96 voxels a side reach it, not all of them 4.5; of noise, which has no contrast to be wrong, one in a
hundred does."""
LEAST_CHANGE = 0.04
"""Part of a tomogram's deviation; where its filter would change less, it is left alone. Tomograms of the same kind
differ by 0.01 to 0.02."""
CHANCE = 0.2
"""The same for a tomogram of one cube (`detect.spectrum`), whose amplitudes say little; less by the root of more."""
SPECTRUM_MARGIN = 32
"""Sections beyond the slab that are filtered as well, as networks see some of what lies around."""


@dataclass(frozen=True)
class Prepared:
    """A tomogram ready for a network.

    volume: as it was given. grid: the same at the model's voxel size (the very same object where nothing had to be
    rescaled or filtered). slab: where the specimen is, in sections of `volume`; sections: the same in those of `grid`.
    (value - mean) / deviation is what networks take; the deviation is negative where the contrast is inverted.
    """

    volume: Volume
    grid: Volume
    slab: Slab
    sections: slice
    mean: float
    deviation: float

    @property
    def data(self) -> np.ndarray:
        """The sections to look at [z, y, x], on the model's grid, not normalised; maybe memory-mapped."""
        return self.grid.data[self.sections]

    @property
    def voxel_size(self) -> float:
        """A, of `grid`: the model's, or the tomogram's own where the two differ by less than 1 %."""
        return self.grid.voxel_size


def prepare(
    volume: Volume, voxel_size: float, settings: SharedSettings, *, spectrum: Sequence[float] | None = None,
    whole: bool = False, device: str = "cpu",
) -> Prepared:  # fmt: skip
    """`volume` on a grid of `voxel_size` A (rescaled with a warning if need be), its slab and its intensities.

    spectrum: amplitudes of the tomograms that a model knows (`detect.spectrum`), which it is given where its own differ
    and the settings do not forbid it; with a warning, too. whole: all of the grid is then of use, not its slab alone.
    device: what filters it then.
    Raises VoxpickError for NaN or constant volumes and for a slab that is not within the volume.
    """
    keep_freed_memory()
    grid = volume
    if not same_voxel_size(volume.voxel_size, voxel_size):
        intensity_statistics(volume)
        warnings.warn(
            f"{volume.name}: {volume.voxel_size:g} A voxels are rescaled to the model's {voxel_size:g} A", stacklevel=3
        )
        grid = rescaled(volume, voxel_size)
    mean, deviation = intensity_statistics(grid, warn=grid is volume)  # first, as it refuses what has no skewness
    slab = slab_of(volume, settings.slab)
    check_contrast(volume, slab, inverted=settings.invert)
    sections = slab.on_grid(volume.voxel_size / grid.voxel_size, grid.shape[0])
    if settings.match_spectrum == "auto" and spectrum is not None:
        measured = sections if settings.slab == "auto" else _specimen(volume, grid, sections)
        around = slice(0, grid.shape[0]) if whole else sections
        grid, mean, deviation = matched(
            grid, around, spectrum, mean=mean, deviation=deviation, measured=measured, device=device
        )
    return Prepared(volume, grid, slab, sections, mean, -deviation if settings.invert else deviation)


def check_contrast(volume: Volume, slab: Slab, *, inverted: bool) -> None:
    """Warn where particles seem to be bright but are looked for dark, as usual, or the other way round."""
    if slab.skewed > CLEARLY_SKEWED and not inverted:
        warnings.warn(
            f"{volume.name}: particles seem to be bright; unless the model learned on such tomograms, add --invert",
            stacklevel=4,
        )
    if slab.skewed < -CLEARLY_SKEWED and inverted:
        warnings.warn(
            f"{volume.name}: particles seem to be dark; unless the model learned on bright ones, leave --invert out",
            stacklevel=4,
        )


def slab_of(volume: Volume, setting: str = "auto") -> Slab:
    """The sections to look at. Raises VoxpickError for a slab that is not within the volume."""
    return choose_slab(volume.data, setting, margin=BIN + round(SLAB_MARGIN / volume.voxel_size))


def _specimen(volume: Volume, grid: Volume, sections: slice) -> slice:
    """Those of the sections of the grid that hold specimen, or all where they do not seem to."""
    found = slab_of(volume).on_grid(volume.voxel_size / grid.voxel_size, grid.shape[0])
    both = slice(max(found.start, sections.start), min(found.stop, sections.stop))
    return both if both.stop > both.start else sections


def matched(
    grid: Volume, sections: slice, spectrum: Sequence[float], *, mean: float, deviation: float,
    measured: slice | None = None, device: str = "cpu",
) -> tuple[Volume, float, float]:  # fmt: skip
    """The volume with another amplitude spectrum in its `sections`, and the mean and deviation that normalise it.

    measured: the sections whose spectrum is to change, where they are not the same. The very same volume comes back
    where it has this spectrum already, or is too small to say; else there is a warning.
    """
    found = gains_needed(grid, measured or sections, spectrum, mean=mean, deviation=deviation)
    if found is None:
        return grid, mean, deviation
    gains, part = found
    warnings.warn(
        f"{grid.name}: its amplitude spectrum differs from that of the model's training tomograms (by {part:.0%}) and "
        "is brought to it; --set match_spectrum=off leaves it",
        stacklevel=4,
    )
    around = slice(max(sections.start - SPECTRUM_MARGIN, 0), min(sections.stop + SPECTRUM_MARGIN, grid.shape[0]))
    where = choose_device(device)
    return filtered(grid, kernel_of(gains), around, mean=mean, deviation=deviation, device=where), 0.0, 1.0


def in_spectrum(
    grid: Volume, spectrum: Sequence[float] | None, *, mean: float, deviation: float, device: str = "cpu"
) -> tuple[Volume, float, float]:
    """As `matched`, all sections of a volume on the model's grid; the very same where the model has no spectrum."""
    if spectrum is None:
        return grid, mean, deviation
    slab = slab_of(grid)
    measured, whole = slice(slab.start, slab.stop), slice(0, grid.shape[0])
    return matched(grid, whole, spectrum, mean=mean, deviation=deviation, measured=measured, device=device)


def gains_needed(
    grid: Volume, sections: slice, spectrum: Sequence[float], *, mean: float, deviation: float
) -> tuple[np.ndarray, float] | None:
    """Gains (`detect.spectrum`) that bring the `sections` of a volume to a spectrum, and how much they change it.

    None where that is less than LEAST_CHANGE or what chance makes of so small a volume, or it is too small to say.
    Raises VoxpickError for a spectrum of another length.
    """
    if len(spectrum) != FREQUENCIES:
        raise VoxpickError(
            f"the spectrum that the model holds has {len(spectrum)} amplitudes in place of {FREQUENCIES}, so its file "
            "is damaged; copy it anew, or train it anew"
        )
    data = grid.data[sections]
    own = amplitudes(data, mean, deviation)
    if own is None:
        return None
    gains = gains_to(np.array(spectrum), own)
    part = change(gains, own)
    return None if part < max(LEAST_CHANGE, CHANCE * (CUBE**3 / data.size) ** 0.5) else (gains, part)

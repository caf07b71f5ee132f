"""The SHREC'20 recipe composed: structures in, tilt series, tomogram and truth out.

Gubins et al., SHREC 2020: Classification in cryo-electron tomograms, Computers & Graphics 91 (2020), section 2.1.
What differs from it or is not said there:
- 41 tilts, as the organisers' program made ("40 evenly spaced" in the paper);
- densities are bead models spread trilinearly at exact orientations (simulate/stamping.py,
  docs/decisions/0001-stamp-on-the-voxel-grid.md) instead of maps turned by splines; cavities count as occupied, as the
  organisers' low threshold made them;
- orientations are uniform; the published set's uneven ones are an option;
- the noise (simulate/detector.py) leaves out the organisers' background term, a ten-thousandth of it;
- smaller fields get fewer particles in proportion, and a particle that finds no room is an error;
- grid values are read as volts, as there; electrostatic potentials from scattering factors, counted electrons and the
  detector's transfer function are not modelled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from voxpick.allocation import keep_freed_memory
from voxpick.errors import VoxpickError
from voxpick.geometry import swap_axes, uniform_rotations_zyx, zxz_to_matrix_xyz
from voxpick.progress import Progress, of_step
from voxpick.simulate.detector import add_noise
from voxpick.simulate.optics import Microscope, exit_wave, image
from voxpick.simulate.packing import Beads, Packing, pack
from voxpick.simulate.reconstruction import back_project, ramp_filtered, tilt_angles
from voxpick.simulate.specimen import ICE_DEVIATION, ICE_MEAN, embed_in_ice, spline_coefficients, tilted_slices
from voxpick.simulate.stamping import stamp

PARTICLES_PER_SPECIMEN = (2400, 2800)
MOST_PARTICLES = 65535
"""In a specimen: the masks number them in 16 bits."""

FILLED = 0.2
ACROSS = ((0, 1), (0, 2), (1, 2))
REFERENCE_AREA = 512 * 512
MOST_TILTS = 3600
"""Of a tilt series: far more than anyone takes, and the time goes with them."""

SMALLEST_SIDE = 4
"""Voxels of y and x: images of fewer have no variance to speak of, and the noise is a share of it."""


class Recipe(BaseModel):
    """Settings of a simulated tomogram; the defaults are SHREC'20's. Lengths in A unless the name says otherwise."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    size_zyx: tuple[int, int, int] = Field((200, 512, 512), description="voxels of the specimen slab")
    voxel_size: float = Field(10.0, gt=0, description="A")
    particles: int | None = Field(
        None,
        ge=1,
        le=MOST_PARTICLES,
        description="how many; none: 2400 to 2799 per 512 x 512 voxels, fewer of large structures",
    )
    thickness: int | None = Field(None, ge=1, description="z voxels of the tomogram; none: as many as x has")
    snr: float = Field(0.004, gt=0, description="the organisers' setting; 0.004 gives an image SNR near 0.16")
    tilt_limit_deg: float = Field(60.0, gt=0, lt=90)
    tilt_step_deg: float = Field(3.0, gt=0)
    defocus_um: float = Field(3.0, description="underfocus is positive")
    voltage_kv: float = Field(300.0, gt=0)
    cs_mm: float = 2.7
    amplitude_contrast: float = Field(0.08, gt=0, le=1, description="without any, low frequencies have no power")
    slice_nm: float = Field(5.0, gt=0, description="multislice thickness")
    envelope_decay: float = Field(0.4, gt=0, description="of the microscope's envelope")
    ice_mean: float = Field(ICE_MEAN, ge=0)
    ice_deviation: float = Field(ICE_DEVIATION, ge=0)
    structural_noise: float = Field(0.04, ge=0)
    contrast: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict, description="factor on a structure's density; none: 1"
    )
    orientations: Literal["uniform", "shrec20"] = "uniform"

    @field_validator("size_zyx")
    @classmethod
    def _wide_enough(cls, size_zyx: tuple[int, int, int]) -> tuple[int, int, int]:
        if min(size_zyx[1:]) < SMALLEST_SIDE:
            raise ValueError(f"y and x must have at least {SMALLEST_SIDE} voxels")
        if size_zyx[0] < 1:
            raise ValueError("z must have at least 1 voxel")
        return size_zyx

    @field_validator("tilt_step_deg")
    @classmethod
    def _two_tilts(cls, step: float, info: ValidationInfo) -> float:
        limit = info.data.get("tilt_limit_deg")
        if limit is not None and step > 2 * limit:
            raise ValueError(f"the tilts from {-limit:g} to {limit:g} degrees hold no second one; take a smaller step")
        if limit is not None and 2 * limit / step > MOST_TILTS:
            raise ValueError(f"more than {MOST_TILTS} tilts from {-limit:g} to {limit:g} degrees; take a larger step")
        return step

    @model_validator(mode="after")
    def _thick_enough(self) -> Recipe:
        if self.thickness is not None and self.thickness < self.size_zyx[0]:
            raise ValueError(f"the tomogram must be at least as thick as the specimen's {self.size_zyx[0]} voxels")
        return self

    def microscope(self) -> Microscope:
        """The optics' part of the settings."""
        return Microscope(
            voltage_kv=self.voltage_kv,
            cs_mm=self.cs_mm,
            amplitude_contrast=self.amplitude_contrast,
            defocus_um=self.defocus_um,
            envelope_decay=self.envelope_decay,
        )

    def tilt_angles(self) -> list[float]:
        """Degrees, in order."""
        return tilt_angles(limit_deg=self.tilt_limit_deg, step_deg=self.tilt_step_deg)


@dataclass(frozen=True)
class Simulation:
    """A simulated tomogram [z, y, x] with its truth; `packing` and `grandmodel` are in the specimen's frame.

    The specimen's first z-section is section (tomogram z - specimen z) // 2 of the tomogram. projections: [tilt, y, x].
    """

    recipe: Recipe
    packing: Packing
    grandmodel: np.ndarray
    clean_projections: np.ndarray
    projections: np.ndarray
    reconstruction: np.ndarray
    tilt_angles_deg: list[float]


def simulate_shrec20(
    structures: Mapping[str, Beads],
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Simulation:
    """Simulate one tomogram. The same seed, settings and kind of device give the same data.

    Particles are drawn by numpy, the same on every device; the noise, nearly 10^9 numbers, by torch on the device.
    structures: bead models by class name. progress(step, done, total).
    """
    keep_freed_memory()
    device = torch.device(device)
    rng = np.random.default_rng(seed)
    generator = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
    packing = pack_specimen(structures, recipe, rng, progress=of_step(progress, "placing particles"))
    grandmodel, clean = tilt_series(packing.field, recipe, generator, progress=of_step(progress, "imaging"))
    noisy = add_noise(clean, generator, snr=recipe.snr, microscope=recipe.microscope(), pixel_nm=recipe.voxel_size / 10)
    nz, _, nx = recipe.size_zyx
    thickness = recipe.thickness or max(nx, nz)
    reconstruction = back_project(
        ramp_filtered(noisy),
        recipe.tilt_angles(),
        thickness=thickness,
        axis_z=(thickness - nz) // 2 + nz // 2,
        progress=of_step(progress, "reconstructing"),
    )
    return Simulation(
        recipe,
        packing,
        grandmodel.cpu().numpy(),
        clean.transpose(1, 2).cpu().numpy(),
        noisy.transpose(1, 2).cpu().numpy(),
        reconstruction.cpu().numpy(),
        recipe.tilt_angles(),
    )


def pack_specimen(
    structures: Mapping[str, Beads],
    recipe: Recipe,
    rng: np.random.Generator,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Packing:
    """Steps 1 to 3: particles in the slab. Raises VoxpickError for no structures, and for contrast of unknown ones."""
    if not structures:
        raise VoxpickError("no structures to simulate; name at least one")
    if unknown := sorted(set(recipe.contrast) - set(structures)):
        raise VoxpickError(f"contrast names {unknown[0]!r}; the structures here are {', '.join(structures)}")
    n = recipe.particles or particle_number(structures, recipe, rng)
    if recipe.orientations == "uniform":
        rotations = uniform_rotations_zyx(n, rng)
    else:
        angles = rng.uniform(0, 360, size=(n, 3))
        angles[:, 0] = np.degrees(np.arccos(rng.uniform(-1, 1, size=n)))  # the generator's, meant for the middle angle
        rotations = swap_axes(zxz_to_matrix_xyz(angles))
    return pack(
        structures,
        rotations,
        rng,
        shape=recipe.size_zyx,
        voxel_size=recipe.voxel_size,
        contrast=recipe.contrast,
        progress=progress,
    )


def particle_number(structures: Mapping[str, Beads], recipe: Recipe, rng: np.random.Generator) -> int:
    """How many particles a specimen gets: 2400 to 2799 on 512 x 512 voxels, but only as many as surely find room."""
    _, ny, nx = recipe.size_zyx
    number = max(1, round(int(rng.integers(*PARTICLES_PER_SPECIMEN)) * ny * nx / REFERENCE_AREA))
    return min(number, _room(structures, recipe.size_zyx, recipe.voxel_size), MOST_PARTICLES)


def _room(structures: Mapping[str, Beads], size_zyx: tuple[int, int, int], voxel_size: float) -> int:
    """With how many particles `FILLED` of the slab is theirs; at least 1.

    SHREC'20's own take 0.08 of it. Random placing without moving what lies already ends near 0.35 for balls; near the
    slab's faces there is half the room, as particles lie wholly inside.
    """
    pieces = [stamp(beads.positions_zyx, beads.electrons, voxel_size=voxel_size) for beads in structures.values()]
    volume = float(np.mean([np.count_nonzero(piece.occupied) for piece in pieces]))
    across = float(np.mean([piece.occupied.any(axis=axes).sum() for piece in pieces for axes in ACROSS]))
    nz, ny, nx = size_zyx
    return max(1, int(FILLED * max(nz - across / 2, 1) * ny * nx / max(volume, 1)))


def tilt_series(
    field: np.ndarray,
    recipe: Recipe,
    generator: torch.Generator,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Steps 4 to 7: the specimen in ice [z, y, x], and noise-free images [tilt, x, y].

    field: e/A^3 [z, y, x], as wide as the specimen or wider by the same at both ends of x. The ice reaches half the
    specimen's width beyond both ends, as in the organisers' doubled field.
    """
    device = generator.device
    nx = recipe.size_zyx[2]
    rim = min((field.shape[2] - nx) // 2, nx // 2)
    pixel_nm = recipe.voxel_size / 10
    slice_voxels = max(1, round(recipe.slice_nm / pixel_nm))
    extra = (field.shape[2] - nx) // 2 - rim
    rows = torch.from_numpy(field[:, :, extra : field.shape[2] - extra]).to(device).transpose(1, 2)
    first = nx - nx // 2  # of the specimen: its voxel nx // 2 lies on the axis, voxel nx of the doubled field
    wide = torch.nn.functional.pad(rows, (0, 0, first - rim, nx // 2 - rim))
    iced = embed_in_ice(wide, generator, mean=recipe.ice_mean, deviation=recipe.ice_deviation)
    grandmodel = iced[:, first : first + nx].transpose(1, 2)
    coefficients = spline_coefficients(iced)
    angles = recipe.tilt_angles()
    images = torch.empty((len(angles), nx, recipe.size_zyx[1]), device=device)
    for k, angle in enumerate(angles):
        slices = tilted_slices(coefficients, angle, width=nx, slice_voxels=slice_voxels)
        wave = exit_wave(
            slices,
            generator,
            pixel_nm=pixel_nm,
            slice_nm=slice_voxels * pixel_nm,
            voltage_kv=recipe.voltage_kv,
            structural_noise=recipe.structural_noise,
            voxels_per_slice=slice_voxels,
        )
        images[k] = image(wave, recipe.microscope(), pixel_nm=pixel_nm)
        if progress:
            progress(k + 1, len(angles))
    return grandmodel, images

"""The model_N directories of SHREC'20: volumes, masks, tilt series and truth of one simulated tomogram.

The grandmodel and the masks are the specimen (200 x 512 x 512 in SHREC'20); the reconstruction is the tomogram (512
cubed), in which the specimen starts z_offset voxels up.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from voxpick.errors import VoxpickError
from voxpick.io.abandoned import remove_partial_folders, restore_folder
from voxpick.io.atomic import write_text
from voxpick.io.mrc import read_labels, read_mrc, read_stack, write_mrc, write_stack
from voxpick.io.mrc_header import MAX_ANISOTROPY, read_header, require_voxel_size
from voxpick.io.shrec import SHREC_VOXEL_SIZE, read_locations, write_locations
from voxpick.particles import Particles
from voxpick.volume import Volume

MASKS = ("class_mask", "class_bbox", "occupancy_mask", "occupancy_bbox")
LOCATIONS = "particle_locations.txt"
EXISTS = "exists already; choose another folder or remove it first"
UNSET_SIZES = (0.0, 1.0)
"""A, in headers whose voxel size nobody set."""


@dataclass(frozen=True)
class ShrecModel:
    """One model_N directory of SHREC'20; files are read when first asked for.

    given_voxel_size: A; None takes that of the reconstruction, or of the occupancy mask where the reconstruction is not
    there or says 0 or 1 A (unset), and 10 A where both say that.
    """

    directory: Path
    given_voxel_size: float | None = None

    @cached_property
    def voxel_size(self) -> float:
        """A. Raises VoxpickError where reconstruction and occupancy mask say sizes more than 1 % apart."""
        if self.given_voxel_size is not None:
            return self.given_voxel_size
        there = [name for name in ("reconstruction", "occupancy_mask") if self.path(name).is_file()]
        said = {name: _size_in_header(self.path(name)) for name in there or ["reconstruction"]}
        sizes = [size for size in said.values() if size not in UNSET_SIZES]
        if sizes and max(sizes) > (1 + MAX_ANISOTROPY) * min(sizes):
            raise VoxpickError(
                f"{self.directory}: reconstruction.mrc says {said['reconstruction']:g} A a voxel, but "
                f"occupancy_mask.mrc {said['occupancy_mask']:g} A; give --voxel-size where the command has it, or mend "
                "the header that is wrong"
            )
        return sizes[0] if sizes else SHREC_VOXEL_SIZE

    @cached_property
    def z_offset(self) -> int:
        """Voxels from a z in the specimen to the same z in the tomogram: (tomogram nz - specimen nz) // 2.

        Raises VoxpickError for a specimen that does not fit into the tomogram.
        """
        tomogram, specimen = (read_header(self.path(name)).shape for name in ("reconstruction", "occupancy_mask"))
        if tomogram[0] < specimen[0] or tomogram[1:] != specimen[1:]:
            raise VoxpickError(
                f"{self.directory}: occupancy_mask.mrc of shape {specimen} (z, y, x) does not fit into "
                f"reconstruction.mrc of shape {tomogram}; take both from one data set"
            )
        return (tomogram[0] - specimen[0]) // 2

    @cached_property
    def grandmodel(self) -> Volume:
        """The specimen's density before projection."""
        return read_mrc(self.path("grandmodel"), voxel_size=self.voxel_size, name=f"{self.directory.name}/grandmodel")

    @cached_property
    def reconstruction(self) -> Volume:
        """The tomogram, named after the directory."""
        return read_mrc(self.path("reconstruction"), voxel_size=self.voxel_size, name=self.directory.name)

    @cached_property
    def projections(self) -> np.ndarray:
        """The tilt series, float32 [tilt, y, x]."""
        return read_stack(self.path("projections"))[0]

    @cached_property
    def class_mask(self) -> np.ndarray:
        """Class id of every specimen voxel, 0 for background."""
        return read_labels(self.path("class_mask"))

    @cached_property
    def occupancy_mask(self) -> np.ndarray:
        """Particle id (row of `particles` + 1) of every specimen voxel, 0 for background."""
        return read_labels(self.path("occupancy_mask"))

    @cached_property
    def class_bbox(self) -> np.ndarray:
        """Class id inside each particle's box."""
        return read_labels(self.path("class_bbox"))

    @cached_property
    def occupancy_bbox(self) -> np.ndarray:
        """Particle id inside each particle's box."""
        return read_labels(self.path("occupancy_bbox"))

    @cached_property
    def particles(self) -> Particles:
        """The truth in the frame of the specimen, which is that of the masks."""
        return self._locations(z_offset=0)

    @cached_property
    def tomogram_particles(self) -> Particles:
        """The truth in the frame of `reconstruction`, z_offset voxels higher."""
        return self._locations(z_offset=self.z_offset)

    def path(self, name: str) -> Path:
        """The file of one member, such as "class_mask"."""
        return self.directory / (LOCATIONS if name == "particles" else f"{name}.mrc")

    def _locations(self, *, z_offset: int) -> Particles:
        return read_locations(
            self.path("particles"), voxel_size=self.voxel_size, z_offset=z_offset, tomogram=self.directory.name
        )


def open_model(directory: str | Path, *, voxel_size: float | None = None) -> ShrecModel:
    """A model_N directory. Raises VoxpickError when it is not a folder with a particle list or an occupancy mask."""
    if voxel_size is not None:
        require_voxel_size(voxel_size, directory)
    model = ShrecModel(Path(directory), voxel_size)
    if not model.directory.is_dir():
        raise VoxpickError(f"{directory}: no such folder; give a model_N folder of SHREC'20")
    if not (model.path("particles").is_file() or model.path("occupancy_mask").is_file()):
        raise VoxpickError(f"{directory}: holds neither {LOCATIONS} nor occupancy_mask.mrc; give a model_N folder")
    return model


def write_model(
    directory: str | Path,
    *,
    grandmodel: np.ndarray,
    class_mask: np.ndarray,
    occupancy_mask: np.ndarray,
    class_bbox: np.ndarray,
    occupancy_bbox: np.ndarray,
    projections: np.ndarray,
    reconstruction: np.ndarray,
    particles: Particles,
    voxel_size: float = SHREC_VOXEL_SIZE,
    notes: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> ShrecModel:
    """Write a model_N directory, whole or not at all.

    Densities and projections are float32, class ids int8, particle ids int16 (uint16 past 32767). particles: rows in
    the order of their ids, centres in the frame of the specimen. voxel_size: A, in every header. notes: text files to
    add, by name.
    Raises VoxpickError when masks differ in shape, an id has no particle, or the directory exists (unless overwrite).
    """
    arrays = {
        "grandmodel": np.asarray(grandmodel, dtype=np.float32),
        "reconstruction": np.asarray(reconstruction, dtype=np.float32),
        "class_mask": _ids(class_mask, np.int8),
        "class_bbox": _ids(class_bbox, np.int8),
        "occupancy_mask": _ids(occupancy_mask, np.int16),
        "occupancy_bbox": _ids(occupancy_bbox, np.int16),
    }
    for name in MASKS:
        if arrays[name].shape != arrays["grandmodel"].shape:
            raise VoxpickError(
                f"{directory}: {name} has shape {arrays[name].shape}, but grandmodel {arrays['grandmodel'].shape}"
            )
    if (largest := int(arrays["occupancy_mask"].max())) > len(particles):
        raise VoxpickError(
            f"{directory}: the occupancy mask has id {largest}, but there are {len(particles)} particles"
        )
    with atomic_directory(directory, overwrite=overwrite) as folder:
        for name, array in arrays.items():
            write_mrc(folder / f"{name}.mrc", array, voxel_size=voxel_size)
        write_stack(folder / "projections.mrc", np.asarray(projections, dtype=np.float32), pixel_size=voxel_size)
        write_locations(folder / LOCATIONS, particles, voxel_size=voxel_size)
        for name, text in (notes or {}).items():
            write_text(folder / name, text)
    return ShrecModel(Path(directory), voxel_size)


@contextmanager
def atomic_directory(directory: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `directory`; rename it on success, remove it on any failure.

    A folder that is overwritten is renamed away first and removed last, so that no moment leaves neither of the two.
    What killed processes left of the same directory is removed, or gets its name back where it is all there is.
    Raises VoxpickError when the directory exists and overwrite is False, also where another process has made it
    meanwhile, or when the disk refuses the write.
    """
    target = Path(directory)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.partial")
    restore_folder(target)
    if target.exists() and not overwrite:
        raise VoxpickError(f"{target}: {EXISTS}")
    try:
        remove_partial_folders(target)
        shutil.rmtree(temporary, ignore_errors=True)  # of a killed process that had the same number
        temporary.mkdir(parents=True)
        yield temporary
        _swap(temporary, target, overwrite=overwrite)
    except OSError as error:
        raise VoxpickError(f"{target}: cannot be written ({error.strerror or error})") from error
    except VoxpickError as error:
        raise VoxpickError(str(error).replace(str(temporary), str(target))) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(new: Path, target: Path, *, overwrite: bool) -> None:
    if not (overwrite and target.exists()):
        try:
            os.replace(new, target)
        except OSError as error:
            if target.exists():  # by now
                raise VoxpickError(f"{target}: {EXISTS}") from error
            raise
        return
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    try:
        os.replace(target, old)
        os.replace(new, target)
    except BaseException:  # Ctrl-C as well, which may come right after either
        if old.exists() and not target.exists():
            os.replace(old, target)
        raise
    finally:
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)


def _size_in_header(path: Path) -> float:
    return float(f"{max(read_header(path).voxel_size_xyz):.7g}")


def _ids(mask: np.ndarray, smallest: type[np.signedinteger]) -> np.ndarray:
    mask = np.asarray(mask)
    return mask.astype(smallest) if mask.max() <= np.iinfo(smallest).max else mask

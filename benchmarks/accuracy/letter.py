"""A specimen made by the letter of the SHREC'20 recipe, sharing no code with voxpick's own generator.

    python benchmarks/accuracy/letter.py ../shared/data OUT --seed 1 [--size 200 128 512] [--thickness 256]

voxpick's generator spreads beads trilinearly at exact orientations and turns the specimen by torch; its networks are
trained on what it makes. This one does what Gubins et al. (2020), section 2.1, describe, with scipy alone: every
complex becomes one density on 10 A voxels (atoms, 3 A Gaussians, mean over the voxel), which cubic splines turn; no
two particles share a voxel above 0.001; splines turn the specimen about y for each tilt; multislice, CTF, filtered
noise and weighted back-projection follow. So it tells what the shipped weights owe to the habits of one program.
OUT gets particle_locations.txt, class_mask.mrc, occupancy_mask.mrc and reconstruction.mrc, enough for
`voxpick detect` and `voxpick evaluate`. Structures are the files of the README in that data folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gemmi
import mrcfile
import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

VOXEL, FINE = 10.0, 2.0
IDS = {"3cf3": 1, "1s3x": 2, "1u6g": 3, "4cr2": 4, "1qvr": 5, "3h84": 6, "2cg9": 7, "3qm1": 8, "3gl1": 9, "3d2f": 10,
       "4d8q": 11, "1bxn": 12}  # fmt: skip
ASSEMBLIES = {"3cf3", "1qvr", "3h84", "3qm1", "1bxn"}
MAPS = {"4cr2": ("polnet10A_4cr2.mrc", 1309.3), "4d8q": ("4d8q_like_from_4v94_half0_10A.mrc", 950.0)}
ELECTRONS_PER_DA = 0.535
PROTEIN, ICE, LIMIT = 0.242, 0.15, 0.001
LAMBDA_NM, SIGMA, SPHERICAL_MM, DEFOCUS_UM, AMPLITUDE = 1.96875e-3, 6.526e-3, 2.7, 3.0, 0.08


def class_map(name: str, data: Path) -> np.ndarray:
    """e/A^3 on 10 A voxels in a cube of even side, the centre of mass at its middle voxel, [z, y, x]."""
    if name in MAPS:
        file, kda = MAPS[name]
        with mrcfile.open(data / "maps" / file, permissive=True) as opened:
            density = np.maximum(np.asarray(opened.data, dtype=np.float64), 0)
        density[density < 0.05 * density.max()] = 0
        return cube(density * (ELECTRONS_PER_DA * 1000 * kda / density.sum() / VOXEL**3))
    structure = gemmi.read_structure(str(data / "structures" / f"{name}.pdb.gz"))
    structure.remove_alternative_conformations()
    structure.remove_hydrogens()
    structure.remove_waters()
    if name in ASSEMBLIES and structure.assemblies:
        structure.transform_to_assembly(structure.assemblies[0].name, gemmi.HowToNameCopiedChain.AddNumber)
    atoms = [atom for chain in structure[0] for residue in chain for atom in residue]
    places = np.array([atom.pos.tolist() for atom in atoms])[:, ::-1]
    electrons = np.array([atom.element.atomic_number + 1.0 for atom in atoms])
    places -= (places * electrons[:, None]).sum(0) / electrons.sum()
    side = 2 * int(np.ceil(np.abs(places).max() / VOXEL + 3))
    factor = round(VOXEL / FINE)
    edges = (np.arange(side * factor + 1) - side * factor / 2) * FINE - VOXEL / 2  # voxel side // 2 is about 0
    fine = np.histogramdd(places, bins=[edges + VOXEL / 2 - FINE / 2] * 3, weights=electrons)[0]
    fine = ndimage.gaussian_filter(fine, 0.225 * 3.0 / FINE)
    means = fine.reshape(side, factor, side, factor, side, factor).sum(axis=(1, 3, 5))
    return cube(means / VOXEL**3)


def cube(density: np.ndarray) -> np.ndarray:
    """The same about voxel n // 2 of a cube with just the room to turn."""
    middle = np.array(density.shape) // 2
    held = np.argwhere(density > LIMIT) - middle
    reach = int(np.ceil(np.linalg.norm(held, axis=1).max())) + 2
    result = np.zeros((2 * reach,) * 3)
    held = held[(np.abs(held) < reach).all(axis=1)]
    result[tuple((held + reach).T)] = density[tuple((held + middle).T)]
    return result


def pack(maps: dict[str, np.ndarray], shape: tuple[int, int, int], number: int, rng: np.random.Generator):
    """The specimen's density, occupancy and classes, and a line for each particle."""
    density, occupancy = np.zeros(shape), np.zeros(shape, dtype=np.int16)
    classes, lines = np.zeros(shape, dtype=np.int8), []
    names = list(maps)
    while len(lines) < number:
        name, turn = names[rng.integers(len(names))], Rotation.random(random_state=rng)
        model = maps[name]
        middle, matrix = np.array(model.shape) // 2, turn.as_matrix()[::-1, ::-1]  # of (z, y, x)
        turned = ndimage.affine_transform(model, matrix.T, middle - matrix.T @ middle, order=3)
        turned[turned < LIMIT] = 0
        body = turned > 0
        for _ in range(400):
            at = np.array([rng.integers(0, n) for n in shape])
            low, high = at - middle, at - middle + np.array(model.shape)
            inside = tuple(slice(max(a, 0), min(b, n)) for a, b, n in zip(low, high, shape, strict=True))
            part = tuple(slice(s.start - a, s.stop - a) for s, a in zip(inside, low, strict=True))
            whole_z = low[0] + np.flatnonzero(body.any(axis=(1, 2)))[[0, -1]]
            if whole_z[0] < 0 or whole_z[1] >= shape[0] or (occupancy[inside] > 0)[body[part]].any():
                continue
            lines.append((name, at, turn))
            density[inside] += turned[part]
            occupancy[inside][body[part]] = len(lines)
            classes[inside][body[part]] = IDS[name]
            break
        else:
            raise SystemExit(f"no room for particle {len(lines) + 1}; give fewer")
    return density, occupancy, classes, lines


def exit_waves(volume: np.ndarray, angles: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Images (tilts, y, x) of a specimen [z, y, x] after CTF; splines turn it about y."""
    nz, ny, nx = volume.shape
    coefficients = volume  # y stays, so splines along z and x are enough
    for axis in (0, 2):
        coefficients = ndimage.spline_filter1d(coefficients, order=3, axis=axis, mode="mirror", output=np.float32)
    ky, kx = np.fft.fftfreq(ny, VOXEL / 10)[:, None], np.fft.fftfreq(nx, VOXEL / 10)[None]
    k2 = kx**2 + ky**2
    nyquist = 0.5 / (VOXEL / 10)
    chi = np.pi / 2 * (SPHERICAL_MM * 1e6 * LAMBDA_NM**3 * k2**2 - 2 * DEFOCUS_UM * 1e3 * LAMBDA_NM * k2)
    envelope = np.exp(-k2 / (0.4 * nyquist) ** 2)
    ctf = (AMPLITUDE * np.cos(chi) - 1j * (1 - AMPLITUDE) * np.sin(chi)) * envelope
    step = 5.0
    propagator = np.exp(-1j * np.pi * LAMBDA_NM * k2 * step)
    images = []
    for angle in angles:
        a = np.deg2rad(angle)
        depth = int(np.ceil((nz * np.cos(a) + nx * abs(np.sin(a))) / 5)) * 5
        z, x = np.meshgrid(np.arange(depth) - depth / 2, np.arange(nx) - nx / 2, indexing="ij")
        source_z = z * np.cos(a) - x * np.sin(a) + nz / 2
        source_x = z * np.sin(a) + x * np.cos(a) + nx / 2
        wave = np.ones((ny, nx), dtype=np.complex64)
        held = (source_z >= 0) & (source_z <= nz - 1) & (source_x >= 0) & (source_x <= nx - 1)
        turned = np.empty((depth, ny, nx), dtype=np.float32)
        for y in range(ny):
            turned[:, y] = ndimage.map_coordinates(
                coefficients[:, y], [source_z, source_x], order=3, prefilter=False, mode="constant", output=np.float32
            )
        turned += rng.normal(0, 0.04, turned.shape).astype(np.float32)
        turned *= held[:, None]
        for first in range(0, depth, 5):
            wave = wave * np.exp(1j * SIGMA * turned[first : first + 5].sum(0) * (VOXEL / 10))
            wave = np.fft.ifft2(np.fft.fft2(wave) * propagator)
        images.append(np.abs(np.fft.ifft2(np.fft.fft2(wave) * ctf)) ** 2)
        print(f"tilt {angle:+.0f}", flush=True)
    images = np.array(images)
    filtered = AMPLITUDE * np.cos(chi) * envelope
    low = k2 <= (10 / (512 * VOXEL / 10)) ** 2
    deviation = np.sqrt(0.5 / 0.004 * images.var(axis=(1, 2)).mean() / (filtered[low] ** 2).mean())
    for image in images:
        white = rng.normal(0, deviation, image.shape)
        image += np.fft.ifft2(np.fft.fft2(white) * filtered).real
    return images


def back_projected(images: np.ndarray, angles: np.ndarray, thickness: int) -> np.ndarray:
    """[z, y, x] by weighted back-projection: ramp along x, bilinear, no inversion."""
    _, ny, nx = images.shape
    ky, kx = np.fft.fftfreq(ny)[:, None], np.fft.fftfreq(nx)[None]
    ramp = np.abs(kx) / 0.5 * (np.hypot(kx, ky) <= 0.5)
    result = np.zeros((thickness, ny, nx), dtype=np.float32)
    z, x = np.meshgrid(np.arange(thickness) - thickness / 2, np.arange(nx) - nx / 2, indexing="ij")
    for image, angle in zip(images, angles, strict=True):
        flat = np.fft.ifft2(np.fft.fft2(image) * ramp).real
        a = np.deg2rad(angle)
        place = x * np.cos(a) - z * np.sin(a) + nx / 2
        first = np.floor(place).astype(int)
        share = place - first
        for offset, weight in ((0, 1 - share), (1, share)):
            column = first + offset
            good = (column >= 0) & (column < nx)
            picked = flat[:, np.clip(column, 0, nx - 1)] * np.where(good, weight, 0)
            result += picked.transpose(1, 0, 2).astype(np.float32)
    return result


def main() -> None:
    """Maps, specimen, images, tomogram."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--size", type=int, nargs=3, default=(200, 128, 512))
    parser.add_argument("--thickness", type=int, default=256)
    parser.add_argument("--particles", type=int, default=None)
    options = parser.parse_args()
    rng = np.random.default_rng([options.seed, 20])
    nz, ny, nx = options.size
    number = options.particles or round(2600 * nz * ny * nx / (200 * 512 * 512))
    maps = {name: class_map(name, options.data) for name in IDS}
    density, occupancy, classes, lines = pack(maps, (nz, ny, nx), number, rng)
    ice = (1 - np.minimum(density, PROTEIN) / PROTEIN) * rng.normal(ICE, 0.01, density.shape)
    angles = np.arange(-60.0, 61.0, 3.0)
    images = exit_waves((density + ice).astype(np.float32), angles, rng)
    tomogram = back_projected(images, angles, options.thickness)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, volume in (("class_mask", classes), ("occupancy_mask", occupancy), ("reconstruction", tomogram)):
        with mrcfile.new(options.out / f"{name}.mrc", overwrite=True) as file:
            file.set_data(volume)
            file.voxel_size = VOXEL
    with (options.out / "particle_locations.txt").open("w") as file:
        for name, at, turn in lines:
            c1, c2, c3 = turn.as_euler("ZXZ", degrees=True)
            file.write(f"{name} {at[2]} {at[1]} {at[0]} {c1:.3f} {c2:.3f} {c3:.3f}\n")
    print(f"{options.out}: {number} particles")


if __name__ == "__main__":
    main()

"""What microscope and tilt series do to a particle, as filters for templates: the CTF, and the missing wedge.

Filters have the layout of torch.fft.rfftn. The sign is that of bright particles: positive at low frequency.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from voxpick import ctf
from voxpick.errors import VoxpickError
from voxpick.wedge import wedge_mask

CUTS = ("first-zero", "full")


@dataclass(frozen=True)
class Optics:
    """The microscope, SHREC'20's by default; underfocus is positive.

    cut: 'first-zero' takes nothing from the first zero of the CTF on, 'full' takes all of it with its signs.
    """

    defocus_um: float = 3.0
    cs_mm: float = 2.7
    voltage_kv: float = 300.0
    amplitude_contrast: float = 0.08
    cut: str = "first-zero"

    def __post_init__(self) -> None:
        if self.cut not in CUTS:
            raise VoxpickError(f"CTF cut {self.cut!r}; one of {', '.join(CUTS)}")
        if not 0 <= self.amplitude_contrast < 1:
            raise VoxpickError(f"amplitude contrast {self.amplitude_contrast:g}; give 0 to 1, usually 0.07 or 0.08")
        if not (math.isfinite(self.defocus_um) and self.defocus_um > 0):
            raise VoxpickError(f"defocus {self.defocus_um:g} um; underfocus is positive, usually 1 to 8")

    def first_zero_nm(self) -> float:
        """Spatial frequency in 1/nm of the first zero of the CTF; infinity if it has none."""
        wavelength = ctf.wavelength_nm(self.voltage_kv)
        quartic, quadratic = self.cs_mm * 1e6 * wavelength**3, self.defocus_um * 1e3 * wavelength
        phase = 1 - math.asin(self.amplitude_contrast) / math.pi  # quadratic k^2 - quartic / 2 k^4 = phase
        root = quadratic**2 - 2 * quartic * phase
        return math.inf if root < 0 else math.sqrt(2 * phase / (quadratic + math.sqrt(root)))

    def transfer(self, k_squared: torch.Tensor) -> torch.Tensor:
        """sqrt(1 - A^2) sin(-chi) + A cos(chi) at squared frequencies in 1/nm^2, cut as set."""
        chi = ctf.phase_shift(k_squared, defocus_um=self.defocus_um, cs_mm=self.cs_mm, voltage_kv=self.voltage_kv)
        contrast = self.amplitude_contrast
        values = -math.sqrt(1 - contrast**2) * torch.sin(chi) + contrast * torch.cos(chi)
        return values if self.cut == "full" else values * (k_squared < self.first_zero_nm() ** 2)


def template_filter(
    shape: tuple[int, int, int],
    voxel_size: float,
    *,
    optics: Optics | None = None,
    tilt_range_deg: tuple[float, float] | None = None,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """CTF (if optics are given) times missing wedge (if a tilt range is): float32 [nz, ny, nx // 2 + 1].

    voxel_size: A. The wedge belongs to the tomogram, so the filter acts on a template that is rotated already.
    """
    nz, ny, nx = shape
    axes = [torch.fft.fftfreq(nz), torch.fft.fftfreq(ny), torch.fft.rfftfreq(nx)]
    kz, ky, kx = (axis.double().to(device) / (voxel_size / 10) for axis in axes)
    k_squared = kz[:, None, None] ** 2 + ky[:, None] ** 2 + kx**2
    result = torch.ones_like(k_squared) if optics is None else optics.transfer(k_squared)
    if tilt_range_deg is not None:
        result = result * wedge_mask(shape, tilt_range_deg, device=device)
    return result.float()

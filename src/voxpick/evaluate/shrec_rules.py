"""What each year's SHREC scoring does, and what the z of picks may count from."""

from __future__ import annotations

from dataclasses import dataclass

from voxpick.errors import VoxpickError

ORGANISERS_Z_OFFSET = 156
FRAMES = ("auto", "tomogram", "specimen")


@dataclass(frozen=True)
class Benchmark:
    """What one year's scoring does.

    dilate: the occupancy mask is grey-dilated once with the 3-D cross. all_distances: AD runs over every hit, not over
    the first-listed one of each particle. z_offset: specimen z + z_offset = tomogram z. shift_rule: stray z moves all
    picks. clip_in_specimen: picks are clipped to the specimen, not to the tomogram. excluded: classes left out of the
    truth but not out of the number of predictions. still_counted: those of them that the number of particles which
    recall is a share of holds all the same, as the organisers' script subtracts 4v94 alone; not where it is strict.
    """

    name: str
    dilate: bool = True
    all_distances: bool = False
    z_offset: int = ORGANISERS_Z_OFFSET
    shift_rule: bool = True
    clip_in_specimen: bool = False
    excluded: tuple[str, ...] = ()
    still_counted: tuple[str, ...] = ()


BENCHMARKS = {
    "shrec20": Benchmark("shrec20"),
    "shrec19": Benchmark("shrec19", dilate=False, all_distances=True, shift_rule=False, clip_in_specimen=True),
    "shrec21": Benchmark(
        "shrec21", z_offset=0, shift_rule=False, excluded=("4v94", "vesicle"), still_counted=("vesicle",)
    ),
}


def rules_of(benchmark: str) -> Benchmark:
    """The rules of a year. Raises VoxpickError for one that is not among BENCHMARKS."""
    if benchmark not in BENCHMARKS:
        raise VoxpickError(f"benchmark is {benchmark!r}; choose one of {', '.join(BENCHMARKS)}")
    return BENCHMARKS[benchmark]


def check_frame(frame: str) -> None:
    """Raise VoxpickError for a frame that is not among FRAMES."""
    if frame not in FRAMES:
        raise VoxpickError(f"frame is {frame!r}; choose one of {', '.join(FRAMES)}")

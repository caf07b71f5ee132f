"""Simulated specimens as training data, for scripts and for streams that never repeat one."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.connection import wait

import numpy as np
import torch
from pydantic import ValidationError

from voxpick.errors import VoxpickError
from voxpick.particles import Particles
from voxpick.simulate.shrec20 import Recipe, Simulation, simulate_shrec20
from voxpick.simulate.structures import BeadModel
from voxpick.simulate.variation import Variation, draw_recipe, varying
from voxpick.train.stream import StreamSettings
from voxpick.train.targets import TrainingVolume
from voxpick.volume import Volume, intensity_statistics

MARGIN = 16
"""Sections of vacuum above and below a specimen of a stream."""

ATTEMPTS = 5
"""How often a specimen is drawn anew when its particles find no room."""

STREAM = 7
"""What tells a stream's specimens from those of 'voxpick simulate' with the same seed."""


def training_volume(simulation: Simulation, class_ids: Mapping[str, int], *, name: str = "tomogram") -> TrainingVolume:
    """A simulated tomogram with its truth. class_ids: number of each structure in the class mask.

    Intensities are brought to mean 0 and standard deviation 1 and kept as float16, as the density is, to fit more
    specimens into memory.
    """
    packing, voxel_size = simulation.packing, simulation.recipe.voxel_size
    mean, deviation = intensity_statistics(Volume(simulation.reconstruction, voxel_size, name))
    z_offset = (simulation.reconstruction.shape[0] - packing.occupancy.shape[0]) // 2
    names = np.array(packing.names, dtype=object)
    ids = np.array([class_ids[structure] for structure in packing.names])
    return TrainingVolume(
        Volume(((simulation.reconstruction - mean) / deviation).astype(np.float16), voxel_size, name),
        packing.class_of(packing.occupancy, ids),
        Particles(
            (packing.centers_zyx + [z_offset, 0, 0]) * voxel_size,
            classes=names[packing.class_index],
            rotations=packing.rotations_zyx,
        ),
        packing.occupancy,
        z_offset=z_offset,
        density=simulation.grandmodel.astype(np.float16),
    )


@dataclass(frozen=True)
class SpecimenMaker:
    """make(k): specimen k of a stream of these structures, always the same one. variation: None repeats the recipe."""

    structures: dict[str, BeadModel]
    recipe: Recipe
    variation: Variation | None
    seed: int
    device: str = "cpu"

    def __call__(self, number: int) -> TrainingVolume:
        """Specimen `number`. Raises VoxpickError when its particles find no room in several drawings."""
        ids = {name: k for k, name in enumerate(self.structures, start=1)}
        for attempt in range(ATTEMPTS):
            seed = int(np.random.SeedSequence([self.seed, number, STREAM, attempt]).generate_state(1)[0])
            recipe = self.recipe
            if self.variation is not None:
                recipe = draw_recipe(recipe, self.structures, self.variation, varying(seed))
            try:
                simulation = simulate_shrec20(self.structures, recipe, seed=seed, device=self.device)
            except VoxpickError as error:
                if attempt == ATTEMPTS - 1 or not str(error).startswith("no room"):
                    raise
            else:
                return training_volume(simulation, ids, name=f"specimen {number}")
        raise AssertionError("unreachable")


def specimen_maker(structures: dict[str, BeadModel], settings: StreamSettings, *, device: str) -> SpecimenMaker:
    """What makes the specimens of a stream with these settings. Raises VoxpickError for a size that is none."""
    try:
        recipe = Recipe(size_zyx=settings.size, thickness=settings.size[0] + 2 * MARGIN)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise VoxpickError(f"training settings: stream.size = {list(settings.size)}: {reason}") from error
    return SpecimenMaker(structures, recipe, Variation() if settings.vary else None, settings.seed, device)


@contextmanager
def background_worker(device: str) -> Iterator[Executor]:
    """Where specimens are made while a network is trained: on a GPU beside it, on a CPU in a process of its own.

    The process is ended with the context, whatever it is making: the interpreter would wait minutes for it at its exit.
    """
    if torch.device(device).type != "cpu":
        with ThreadPoolExecutor(1, thread_name_prefix="specimens") as threads:
            try:
                yield threads
            finally:
                threads.shutdown(wait=False, cancel_futures=True)
        return
    others = active_children()
    worker = _started()
    own = [process for process in active_children() if process not in others]
    try:
        yield worker
    finally:
        worker.shutdown(wait=False, cancel_futures=True)  # first, so that what was cancelled is not told of its end
        for process in own:
            process.kill()


def _started() -> ProcessPoolExecutor:
    """One process; a signal to the whole group is the training's to answer."""
    worker = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_work_quietly)
    if threading.current_thread() is not threading.main_thread():
        worker.submit(os.getpid)  # starts the process
        return worker
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        worker.submit(os.getpid)  # and the process keeps on ignoring them
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return worker


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _work_quietly() -> None:
    """One thread, less priority than the training, no signals, and an end when the training is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    os.nice(5)

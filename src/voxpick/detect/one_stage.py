"""One network that finds and names at once: from class probabilities to scored, named picks."""

from __future__ import annotations

from voxpick.detect.pipeline import Detection, Progress
from voxpick.detect.settings import DetectSettings
from voxpick.networks.model import Model
from voxpick.volume import Volume


def detect_in_one_stage(
    volume: Volume,
    model: Model,
    *,
    settings: DetectSettings,
    per_class: bool,
    device: str = "auto",
    progress: Progress | None = None,
) -> Detection:
    """The picks of a network that gives every voxel a class, most confident first.

    Softmax over the classes tile by tile. Foreground is where 1 - P(background) is above `settings.threshold`, and the
    class of a foreground voxel is the most probable but for the background. Particles are told apart by
    `settings.split`:
    per_class False: in all foreground at once; the voxels of a particle then vote on its class by `settings.voting`
    ('majority' counts each voxel's class, 'probability' adds up the probabilities);
    per_class True: among the voxels of each class apart, so that the class is given.
    score = location_score * class_score: the mean foreground probability (as `locate` takes it) times the winner's
    share of the vote; with per_class the share of its class in the probability of any particle.
    The map of probabilities is never held as a whole, and `settings.max_memory` is obeyed as in `detect`.
    progress(step, done, total). Raises VoxpickError as `detect` does.
    """
    raise NotImplementedError

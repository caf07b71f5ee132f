"""Which weights a figure was made with."""

from __future__ import annotations

import hashlib

from voxpick.methods.catalogue import method_of
from voxpick.networks.model import Model


def described(models: dict[str, Model], *, source: str) -> dict[str, str]:
    """The method of a model's parts and the SHA-256 of their weights.

    It depends on names, shapes and float32 values of the weights alone, so another file with the same weights has the
    same one. Raises VoxpickError for parts of several methods.
    """
    digest = hashlib.sha256()
    for part in sorted(models):
        for key, value in sorted(models[part].network.state_dict().items()):
            digest.update(f"{part}.{key} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().float().contiguous().numpy().astype("<f4").tobytes())
    return {"method": method_of(models, source=source), "sha256": digest.hexdigest()}

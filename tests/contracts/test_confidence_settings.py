"""Whatever a method learns, its scores can be calibrated: its detection takes what a calibrated model brings along."""

import pytest

from voxpick.detect.calibration import ScoreMap
from voxpick.detect.settings import SharedSettings
from voxpick.methods.catalogue import METHODS
from voxpick.methods.traits import detection_settings

LEARNED = [name for name, method in METHODS.items() if method.STAGES]


@pytest.mark.parametrize("name", LEARNED)
def test_a_detection_takes_maps_thresholds_and_radii(name):
    kind = detection_settings(METHODS[name])
    assert kind is not None and issubclass(kind, SharedSettings)
    brought = {
        "calibration": ScoreMap(kind="platt", shift=1.0).plain(),
        "location_calibration": {"kind": "isotonic", "knots": [0.2, 0.8], "values": [0.1, 0.9]},
        "class_thresholds": {"a": 0.5}, "class_radii": {"a": 9.0}, "calibrated": False,
    }  # fmt: skip
    settings = kind(**brought)
    assert settings.calibration.shift == 1 and settings.location_calibration.values == [0.1, 0.9]
    assert settings.class_thresholds == {"a": 0.5} and settings.class_radii == {"a": 9.0} and not settings.calibrated

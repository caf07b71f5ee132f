"""Picks of one method named by the classifier of another: whose settings count, and what the scores are made of."""

import numpy as np
import pytest
import torch

from voxpick.detect.locate import Located, locate
from voxpick.detect.pipeline import Detection
from voxpick.detect.settings import DetectSettings
from voxpick.detect.slab import Slab
from voxpick.errors import VoxpickError
from voxpick.methods import resnet3d, vp_detector
from voxpick.methods.catalogue import METHODS
from voxpick.methods.naming import finding_changes, finding_parts, named_by
from voxpick.methods.traits import check_detection, finds
from voxpick.networks.model import Model
from voxpick.particles import Particles
from voxpick.volume import Volume

SHAPE = (20, 28, 36)


class Certain(torch.nn.Module):
    """Says 1/6 background, 1/6 for the first class and 4/6 for the second of every subtomogram."""

    def __init__(self):
        super().__init__()
        self.sides = set()

    def forward(self, images):
        self.sides.add(images.shape[-1])
        return torch.tensor([0.0, 0.0, np.log(4.0)]).repeat(len(images), 1)


def make_classifier(detection, *, voxel_size=10.0):
    model = Model("msdnet", {}, Certain(), ["background", "first", "second"], voxel_size)
    model.detection = dict(detection)
    return model


def make_detection(*, voxels=True, **settings):
    """Two particles that a method found in noise, the second with less confidence."""
    probability = np.zeros(SHAPE, np.float32)
    probability[4:8, 5:9, 6:10], probability[12:16, 18:22, 25:29] = 0.75, 0.625
    located = locate(probability)
    if not voxels:
        nothing = np.zeros(0, dtype=np.int64)
        located = Located(located.centers, located.sizes * 0, located.scores, nothing, nothing, SHAPE)
    data = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    slab = Slab(0, SHAPE[0], "all")
    found = Particles(located.centers * 10.0, classes=np.array(["particle"] * 2, dtype=object))
    made_with = DetectSettings(**settings).model_dump()
    return Detection(
        found, ["background", "particle"], Volume(data, 10.0, "toy"), slab, located, np.ones(2, dtype=np.int64), 10.0,
        made_with,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("own", "changes", "expected"),
    [
        ({}, {}, (32, "probability")),
        ({"subtomogram": 12}, {}, (12, "probability")),
        ({"subtomogram": 12, "voting": "majority"}, {"voting": None}, (12, "majority")),
        ({"subtomogram": 12}, {"subtomogram": 8, "voting": "majority"}, (8, "majority")),
    ],
)
def test_subtomogram_and_vote_are_the_classifiers_not_those_of_finding(own, changes, expected):
    classifier = make_classifier(own)
    found = named_by(
        make_detection(subtomogram=20, voting="majority", minimum_size=7), classifier, changes=changes, device="cpu"
    )
    assert (found.settings["subtomogram"], found.settings["voting"]) == expected
    assert expected[0] in classifier.network.sides and 20 not in classifier.network.sides
    assert found.settings["minimum_size"] == 7


@pytest.mark.parametrize("voxels", [True, False])
def test_score_is_that_of_the_place_times_that_of_the_class(voxels):
    picks = named_by(make_detection(voxels=voxels), make_classifier({"subtomogram": 12}), device="cpu").particles
    assert picks.classes.tolist() == ["second", "second"]
    assert picks.location_scores == pytest.approx([0.75, 0.625])
    assert picks.class_scores == pytest.approx([4 / 6, 4 / 6])
    assert picks.scores == pytest.approx([0.5, 2.5 / 6])
    assert picks.centers_zyx == pytest.approx(np.array([[55, 65, 75], [135, 195, 265]]))


def test_another_voxel_size_is_refused():
    with pytest.raises(VoxpickError, match=r"voxels of 10 A and the classifier is made for 13\.7 A"):
        named_by(make_detection(), make_classifier({}, voxel_size=13.7), device="cpu")


def test_a_method_that_finds_with_its_classifier_keeps_it():
    models = {"localizer": make_classifier({}), "classifier": make_classifier({})}
    assert list(finding_parts(vp_detector, models)) == ["localizer"]
    only = {"classifier": models["classifier"]}
    assert finding_parts(resnet3d, only) == only


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if finds(method)])
def test_settings_of_naming_are_taken_whatever_finds(name):
    check_detection(METHODS[name], {"voting": "majority", "subtomogram": 16}, named=True)
    with pytest.raises(VoxpickError, match="nonsense"):
        check_detection(METHODS[name], {"nonsense": 1}, named=True)


def test_the_finder_is_not_given_settings_of_naming():
    given = {"voting": "majority", "subtomogram": 16, "threshold": 0.6, "nonsense": 1}
    assert finding_changes(resnet3d, {**given, "max_memory": "4GB"}) == {"max_memory": "4GB", "nonsense": 1}
    assert finding_changes(vp_detector, given) == {"voting": "majority", "threshold": 0.6, "nonsense": 1}

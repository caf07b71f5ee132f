"""What methods say of themselves beside the catalogue's contract, and what follows from it."""

import inspect

import pytest

from voxpick.benchmark.abilities import abilities
from voxpick.errors import VoxpickError
from voxpick.methods.catalogue import METHODS
from voxpick.methods.traits import check_detection, detection_settings, finds, gives_names, learns_from
from voxpick.networks.zoo import NETWORKS

STAGES = [(name, stage) for name, method in METHODS.items() for stage in method.STAGES]


def test_who_finds_and_who_names():
    assert {name for name, method in METHODS.items() if not finds(method)} == {"densenet", "dilated-densenet"}
    assert {name for name, method in METHODS.items() if not gives_names(method)} == {"dog"}
    assert [pair for pair in STAGES if learns_from(METHODS[pair[0]], pair[1])] == [("dn3dunet", "segmenter")]
    found = abilities()
    assert {name for name, ability in found.items() if not ability.stages} == {"dog", "tm-f", "tm-t"}
    assert found["densenet"].finds is False and found["dog"].names is False and found["yopo"].paper_detection is False


@pytest.mark.parametrize("name", METHODS)
def test_misspelt_detection_settings_are_refused_and_its_own_are_not(name):
    method = METHODS[name]
    kind = detection_settings(method)
    if kind is None:
        pytest.skip("it does not say what its settings are")
    assert kind.__name__ in inspect.getsource(inspect.unwrap(method.detect)) or kind.__name__ == "DetectSettings"
    for own in (
        getattr(method, "DETECTION", {}),
        getattr(method, "PAPER_DETECTION", {}),
        getattr(method, "VALIDATION", {}),
    ):
        check_detection(method, own)
    with pytest.raises(VoxpickError, match=r"detection: tresh = 0\.5: .*; known: .*minimum_score"):
        check_detection(method, {"tresh": 0.5})
    with pytest.raises(VoxpickError, match="detection: minimum_score = 2"):
        check_detection(method, {"minimum_score": 2})


def test_the_settings_of_a_borrowed_classifier_go_with_any_finder():
    check_detection(METHODS["yopo"], {"subtomogram": 24, "threshold": 0.9}, True)
    with pytest.raises(VoxpickError, match="subtomogram = 24"):
        check_detection(METHODS["yopo"], {"subtomogram": 24})
    with pytest.raises(VoxpickError, match="subtomogram = 2: "):
        check_detection(METHODS["yopo"], {"subtomogram": 2}, True)


def can_start_at_background(method):
    """Whether the network of a method that names voxels takes the background's probability to start from."""
    if "segmenter" not in method.STAGES:
        return False
    return "background" in inspect.signature(NETWORKS[method.training_settings("segmenter").network]).parameters


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if can_start_at_background(method)])
def test_networks_that_name_voxels_start_at_the_background_in_minutes_alone(name):
    method = METHODS[name]
    for preset, expected in (("minutes", 0.9), ("paper", None)):
        settings = method.training_settings("segmenter", preset)
        assert settings.network_settings.get("background") == expected
    changes = method.TINY["segmenter"]
    model = method.create_model(method.training_settings("segmenter", changes=changes), ["a", "b"], voxel_size=10.0)
    bias = [
        value for key, value in model.network.state_dict().items() if key.endswith("bias") and len(value.ravel()) == 3
    ]
    assert bias[-1].ravel().softmax(0).tolist() == pytest.approx([0.9, 0.05, 0.05])


@pytest.mark.parametrize(("name", "stage"), STAGES)
def test_options_that_no_code_would_read_are_refused(name, stage):
    with pytest.raises(VoxpickError, match="made_up"):
        METHODS[name].training_settings(stage, changes={"options": {"made_up": 1}})


@pytest.mark.parametrize(("name", "stage"), STAGES)
@pytest.mark.parametrize(("setting", "words"), [("classes", "the data make it"), ("in_channels", "the data make it 1")])
def test_channels_that_the_data_do_not_have_are_refused(name, stage, setting, words):
    changes = {**METHODS[name].TINY[stage]}
    changes["network_settings"] = {**changes["network_settings"], setting: 20}
    settings = METHODS[name].training_settings(stage, changes=changes)
    with pytest.raises(VoxpickError, match=f"network_settings.{setting} is 20; {words}"):
        METHODS[name].create_model(settings, ["a", "b"], voxel_size=10.0)


@pytest.mark.parametrize("name", ["yopo", "resnet3d"])
def test_a_box_is_as_large_as_the_patch(name):
    settings = METHODS[name].training_settings("classifier", changes={"network_settings": {"box": 40}})
    with pytest.raises(VoxpickError, match=r"network_settings\.box is 40 and patch"):
        METHODS[name].create_model(settings, ["a"], voxel_size=10.0)
    both = METHODS[name].training_settings("classifier", changes={"patch": 40, "network_settings": {"box": 40}})
    assert METHODS[name].create_model(both, ["a"], voxel_size=10.0).settings["box"] == 40


@pytest.mark.parametrize(
    ("name", "stage"),
    [("densenet", "classifier"), ("dilated-densenet", "classifier"), ("dn3dunet", "denoiser"),
     ("resnet3d", "classifier"), ("yopo", "classifier")],
)  # fmt: skip
def test_touching_voxels_are_refused_where_voxels_have_no_labels(name, stage):
    with pytest.raises(VoxpickError, match="touching = ignore: "):
        METHODS[name].training_settings(stage, changes={"touching": "ignore"})

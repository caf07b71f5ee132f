import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, jaccard_score

from voxpick.errors import VoxpickError
from voxpick.evaluate.segmentation import score_segmentation

LABELS = ("background", "a", "b", "c")


def test_the_papers_formulas_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, (6, 10, 14)).astype(np.float32)
    predicted = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, 4, truth.shape)).astype(np.int8)
    score = score_segmentation(predicted, truth, labels=LABELS)
    assert score.voxel_accuracy == pytest.approx(accuracy_score(truth.ravel(), predicted.ravel()))
    assert score.mean_voxel_accuracy == pytest.approx(balanced_accuracy_score(truth.ravel(), predicted.ravel()))
    assert score.mean_iou == pytest.approx(jaccard_score(truth.ravel(), predicted.ravel(), average="macro"))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("above", [3, 4])
def test_a_whole_tomogram_is_compared_in_its_central_slices(above):
    truth = np.zeros((4, 5, 7), np.uint8)
    truth[1, 2, 3] = 2
    predicted = np.pad(truth, ((3, above), (0, 0), (0, 0)), constant_values=1)
    score = score_segmentation(predicted, truth, labels=LABELS)
    assert score.voxel_accuracy == score.mean_iou == 1
    assert score.to_dict()["class_IoU"] == {"background": 1.0, "a": None, "b": 1.0, "c": None}


def test_what_does_not_fit_is_refused():
    truth = np.zeros((4, 5, 7))
    with pytest.raises(VoxpickError, match=r"\(4, 5, 8\)"):
        score_segmentation(np.zeros((4, 5, 8)), truth, labels=LABELS)
    with pytest.raises(VoxpickError, match=r"shape \(3, 5, 7\) \(z, y, x\) but the class mask has \(4, 5, 7\)"):
        score_segmentation(truth[1:], truth, labels=LABELS)


@pytest.mark.parametrize("value", [0.5, -1, 4, np.nan, np.inf, -np.inf])
def test_what_is_no_class_id_is_refused(value):
    truth = np.zeros((4, 5, 7))
    wrong = truth.copy()
    wrong[2, 1, 3] = value
    for given, right, what in ((wrong, truth, "segmentation"), (truth, wrong, "class mask")):
        with pytest.raises(VoxpickError, match=f"the {what} holds values .* in slice 2; .* from 0 to 3"):
            score_segmentation(given, right, labels=LABELS)

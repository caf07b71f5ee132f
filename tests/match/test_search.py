"""Several templates over one tomogram: passes by size first, memory second."""

import weakref

import numpy as np
import pytest

from voxpick.match import exact, low_rank, search
from voxpick.match.bank import Bank, Template
from voxpick.match.passes import parts_of
from voxpick.match.rotations import super_fibonacci
from voxpick.match.search import Target, Wanted, find_all
from voxpick.match.tiles import TiledVolume


@pytest.fixture(scope="module")
def targets(bank):
    """Two small templates and three large ones, which do not lie by size."""
    small, large = ({"radius": radius} for radius in (25, 55))
    kinds = [(large, 9), (small, 7), (large, 5), (small, 6), (large, 4)]
    banks = [
        Bank(Template(f"t{k}", bank.template.density, 10.0, **changes), super_fibonacci(n), edge=1.0)
        for k, (changes, n) in enumerate(kinds)
    ]
    assert banks[0].side > 1.25 * banks[1].side
    return [Target(bank, Wanted(distance=4, number=5)) for bank in banks]


def in_memory_of(monkeypatch, volume, path, maps):
    monkeypatch.setattr(search, "MAP_BYTES", maps * search.BYTES[path] * np.prod(volume.shape))


def watched(monkeypatch, path):
    """Which templates each pass takes; and none begins while maps of an earlier one are held."""
    module, name = (exact, "_one_pass") if path == "exact" else (low_rank, "search_compressed")
    made, passes, work = [], [], getattr(module, name)

    def one_pass(volume, banks, *arguments, **settings):
        assert not [ref for ref in made if ref() is not None], "maps of an earlier pass are still in memory"
        passes.append([bank.template.name for bank in banks])
        found = work(volume, banks, *arguments, **settings)
        made.extend(weakref.ref(one.score) for one in found)
        return found

    monkeypatch.setattr(module, name, one_pass)
    return passes


@pytest.mark.parametrize("path", ["exact", "low-rank"])
@pytest.mark.parametrize(("maps", "expected"), [(9, [["t1", "t3"], ["t0", "t2", "t4"]]),
                                                (2, [["t1", "t3"], ["t0", "t2"], ["t4"]])])  # fmt: skip
def test_memory_splits_passes_and_does_not_make_more_of_them(monkeypatch, noisy, targets, path, maps, expected):
    """Templates were dealt into memory in the order they were given: five passes of one where two and a half do."""
    volume, steps = TiledVolume(noisy[0]), []
    in_memory_of(monkeypatch, volume, path, maps)
    passes = watched(monkeypatch, path)
    found = list(find_all(volume, targets, path=path, tile=36, progress=lambda *step: steps.append(step)))
    assert passes == expected and len(found) == 5
    done = [step[0] for step in steps]
    assert done == sorted(done) and {step[1] for step in steps} == {steps[-1][0]}, "progress runs over all once"


@pytest.mark.parametrize("path", ["exact", "low-rank"])
def test_what_is_found_does_not_depend_on_memory(monkeypatch, noisy, targets, path):
    volume = TiledVolume(noisy[0])
    plenty, little = [], []
    for maps, found in ((9, plenty), (1, little)):
        in_memory_of(monkeypatch, volume, path, maps)
        found += find_all(volume, targets, path=path, tile=36)
    for one, other, target in zip(plenty, little, targets, strict=True):
        assert one.sampling == other.sampling and one.lowest == other.lowest and one.noise == other.noise
        for column in ("places", "scores", "rows"):
            assert np.array_equal(getattr(one.peaks, column), getattr(other.peaks, column))
        assert one.peaks.rows.max() < len(target.bank) and len(one.peaks)


def test_parts_of_a_pass():
    assert parts_of([4, 1, 3, 0], [1] * 5, 2) == [[4, 1], [3, 0]]
    assert parts_of([4, 1, 3, 0], [1, 2, 1, 1, 1], 2) == [[4], [1], [3, 0]], "template and background stay together"
    assert parts_of([4, 1], [1] * 5, 0) == [[4], [1]] and parts_of([4, 1], [1] * 5, None) == [[4, 1]]

import pytest
from bad_files import make_place


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    here = tmp_path_factory.mktemp("place")
    make_place(here)
    return here

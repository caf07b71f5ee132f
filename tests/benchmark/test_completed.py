"""Tables of an earlier state of the package get what is known of the papers today."""

import copy
import json

from voxpick.benchmark.completed import complete
from voxpick.benchmark.settings import Entry
from voxpick.benchmark.tables import build_tables
from voxpick.benchmark.writing import tables_to_dict

ENTRIES = {"a": Entry(method="umc", title="A"), "b": Entry(method="densenet", title="B")}


def written(scored, classes=None):
    """Tables of two entries of one seed each."""
    results = []
    for name, f1 in (("a", 0.5), ("b", 0.25)):
        score = scored(8, f1)
        score["class_f1"] |= dict.fromkeys(classes or (), 0.1)
        test = {"tomogram": "t", "seconds": 9.0, "peak_bytes": 10**9, "score": score}
        results.append({"entry": name, "seed": 0, "status": "done", "stages": [], "tests": [test], "sweep": []})
    return tables_to_dict(build_tables(results, ENTRIES))


def test_published_rows_of_an_earlier_state_are_replaced(scored):
    tables = written(scored, classes=["9abc"])
    old = copy.deepcopy(tables)
    for table in old.values():
        table["rows"] = [row for row in table["rows"] if not row["published"] or row["name"] == "UMC"]
        for row in table["rows"]:
            if row["published"]:
                row["shown"] = ["0"] * len(row["shown"])
        table["note"] = "old"
    before = json.dumps(old)
    new = complete(old)
    for key, table in tables.items():
        assert new[key] == table
    assert json.dumps(old) == before

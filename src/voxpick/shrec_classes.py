"""The twelve complexes of SHREC'20: ids, molecular weights, shapes and size groups.

Source: Gubins et al., Computers & Graphics 91 (2020) 279-289, Tables 1 and 5; the ids are those of its class masks.
"""

from __future__ import annotations

from typing import NamedTuple

SHREC20_CLASSES = ("3cf3", "1s3x", "1u6g", "4cr2", "1qvr", "3h84", "2cg9", "3qm1", "3gl1", "3d2f", "4d8q", "1bxn")
"""Names in the order of their ids, which start at 1 (0 is background)."""

CLASS_IDS = {name: index for index, name in enumerate(SHREC20_CLASSES, start=1)}


class Complex(NamedTuple):
    """A row of Table 1. weight_kda; volume_nm3, area_nm2: of the 1 nm density map; effective_radius_nm: 3 V / A."""

    name: str
    weight_kda: float
    volume_nm3: float
    area_nm2: float
    sphericity: float
    effective_radius_nm: float


SHREC20_TABLE1 = {
    "1s3x": Complex("Hsp70 ATPase", 42.75, 104.1, 122.0, 0.877, 2.56),
    "3qm1": Complex("LJ0536 S106A", 62.62, 139.1, 144.9, 0.896, 2.88),
    "3gl1": Complex("Ssb1, Hsp70", 84.61, 207.0, 202.6, 0.835, 3.065),
    "3h84": Complex("GET3", 158.08, 375.3, 399.0, 0.631, 2.822),
    "2cg9": Complex("Hsp90-Sba1", 188.73, 394.2, 380.5, 0.683, 3.108),
    "3d2f": Complex("Sse1p, Hsp70", 236.11, 521.9, 497.9, 0.63, 3.145),
    "1u6g": Complex("Cand1-Cul1-Roc1", 238.82, 498.5, 488.0, 0.623, 3.065),
    "3cf3": Complex("P97/vcp", 541.74, 1123.0, 805.7, 0.648, 4.181),
    "1bxn": Complex("Rubisco", 559.96, 978.9, 614.4, 0.776, 4.78),
    "1qvr": Complex("ClpB", 593.36, 1255.0, 1159.0, 0.485, 3.248),
    "4cr2": Complex("26S proteasome", 1309.28, 3085.0, 1971.0, 0.52, 4.696),
    "4d8q": Complex("TRiC/CCT", 1952.74, 2152.0, 1331.0, 0.606, 4.85),
}
"""By PDB id, ascending molecular weight as in the paper."""

SHREC20_BY_WEIGHT = tuple(SHREC20_TABLE1)
SHREC20_WEIGHTS_KDA = {name: row.weight_kda for name, row in SHREC20_TABLE1.items()}

SHREC20_SIZE_GROUPS = {
    "small": ("1s3x", "3qm1", "3gl1", "3h84", "2cg9"),
    "medium": ("3d2f", "1u6g", "3cf3", "1bxn", "1qvr"),
    "large": ("4cr2", "4d8q"),
}
"""Table 5: below 200 kDa, 200 to 600 kDa, above 600 kDa. Table 6 averages the class F1 scores over each group."""

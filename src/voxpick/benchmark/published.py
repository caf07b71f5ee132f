"""The published numbers, copied as printed; '-' of a table is None.

SHREC20: Gubins et al., SHREC 2020: Classification in cryo-electron tomograms, Computers & Graphics 91 (2020) 279-289.
VPDETECTOR: Hao et al., VP-Detector, Comput. Methods Programs Biomed. (2022).
DENSENET: Gao et al., Dilated-DenseNet for macromolecule classification in cryo-electron tomography (2020).
DEEPFINDER18: Moebel et al., the first report on DeepFinder (2018).
SHREC20's and VPDETECTOR's are of SHREC'20's test tomogram: 512 x 512 x 512 voxels, 2,782 particles, nine tomograms to
train on. VP-Detector was scored on tomogram 9, the test tomogram, after training on 1 to 7. DENSENET's are of SHREC'19,
whose twelve classes have 4b4t where SHREC'20 has 4cr2 (both are 26S proteasomes), and of subtomograms cut out where the
truth says: F1 of naming alone, with no particle missed. Where the papers are at odds with themselves:
- SHREC20, Table 7 gives template matching 27 h 24 m on a GPU and 1 h 24 m on a CPU; section 3.7 says it the other way
  round. Copied from the table. Section 3.6 says 40 min for UMC's inference, Table 7 42 m.
- SHREC20, Table 3 leaves MH of 3D MS-D empty.
- VPDETECTOR, Table 1 repeats the rows of SHREC20's Table 3, without 3D MS-D; Table 5 gives TM-T the time in the first
  of Table 7's rows on template matching and TM-F that in the second, which differ in hardware, not in method.
- VPDETECTOR, Table 3 prints '3c1' for 3cf3 and leaves one 'avg' out of its head; the averages fit the columns here.
- DENSENET, section 3.3 has dilations raise the F1 by 3.7 % for large, 5.3 % for medium and 6.8 % for small particles.
  By its Table 2 these are the gains of its medium, tiny and small ones; large ones gain nothing.
"""

from __future__ import annotations

SHREC20 = "SHREC'20"
VPDETECTOR = "VP-Detector paper"
DENSENET = "Dilated-DenseNet paper"

TABLE3_COLUMNS = ("RR", "TP", "FP", "FN", "MH", "RO", "AD", "recall", "precision", "miss_rate", "F1")
SHREC20_TABLE3: dict[str, tuple[float | None, ...]] = {
    "3D MS-D": (2663, 2523, 139, 259, None, 0, 2.05, 0.906, 0.947, 0.094, 0.926),
    "DeepFinder": (2594, 2485, 107, 297, 2, 0, 2.166, 0.893, 0.957, 0.107, 0.924),
    "3D ResNet": (2864, 1983, 611, 799, 246, 0, 3.501, 0.712, 0.692, 0.288, 0.702),
    "YOPO": (2821, 2543, 240, 239, 37, 0, 2.104, 0.914, 0.901, 0.086, 0.907),
    "Dn3DUnet": (2598, 2340, 146, 442, 112, 0, 2.807, 0.841, 0.9, 0.159, 0.869),
    "UMC": (2781, 2642, 68, 140, 68, 0, 1.873, 0.949, 0.95, 0.051, 0.949),
    "TM-T": (2604, 1898, 20, 884, 412, 0, 1.528, 0.682, 0.728, 0.318, 0.704),
    "TM-F": (2604, 2267, 331, 515, 6, 0, 1.767, 0.814, 0.87, 0.185, 0.841),
}
"""Localisation, as printed."""

VPDETECTOR_TABLE1: dict[str, tuple[float | None, ...]] = {
    "VP-Detector": (2635, 2577, 57, 205, 1, 0, 2.046, 0.926, 0.978, 0.074, 0.951),
}
"""Localisation in the order of TABLE3_COLUMNS (the paper prints precision before recall); its own row."""

CLASS_COLUMNS = ("1s3x", "3qm1", "3gl1", "3h84", "2cg9", "3d2f", "1u6g", "3cf3", "1bxn", "1qvr", "4cr2", "4d8q")
SHREC20_TABLE4: dict[str, tuple[float, ...]] = {
    "3D MS-D": (0.192, 0.408, 0.437, 0.416, 0.368, 0.461, 0.492, 0.719, 0.948, 0.851, 0.942, 0.964),
    "DeepFinder": (0.61, 0.729, 0.8, 0.911, 0.783, 0.848, 0.866, 0.939, 1, 0.984, 0.993, 0.993),
    "3D ResNet": (0.193, 0.185, 0.405, 0.407, 0.334, 0.445, 0.491, 0.628, 0.906, 0.719, 0.868, 0.817),
    "YOPO": (0.558, 0.741, 0.67, 0.834, 0.696, 0.682, 0.795, 0.896, 0.987, 0.83, 0.923, 0.993),
    "Dn3DUnet": (0.529, 0.577, 0.569, 0.674, 0.332, 0.523, 0.462, 0.676, 0.925, 0.684, 0.907, 0.974),
    "UMC": (0.661, 0.827, 0.839, 0.947, 0.855, 0.873, 0.899, 0.981, 0.997, 0.98, 1, 0.997),
    "TM-T": (0.2, 0.102, 0.248, 0.727, 0.555, 0.869, 0.835, 0.88, 0.934, 0.97, 0.968, 0.945),
    "TM-F": (0.319, 0.219, 0.207, 0.66, 0.589, 0.808, 0.815, 0.945, 0.939, 0.966, 0.968, 0.945),
}
"""F1 of each class."""

GROUP_COLUMNS = ("small", "medium", "large")
SHREC20_TABLE6: dict[str, tuple[float, ...]] = {
    "3D MS-D": (0.364, 0.694, 0.953),
    "DeepFinder": (0.767, 0.927, 0.993),
    "3D ResNet": (0.305, 0.638, 0.843),
    "YOPO": (0.7, 0.838, 0.958),
    "Dn3DUnet": (0.536, 0.654, 0.941),
    "UMC": (0.826, 0.946, 0.999),
    "TM-T": (0.366, 0.898, 0.957),
    "TM-F": (0.399, 0.895, 0.957),
}
"""Mean class F1 of the size groups of Table 5, which are `shrec_classes.SHREC20_SIZE_GROUPS`."""

SHREC20_TABLE7: dict[str, tuple[str, str]] = {
    "3D MS-D": ("168 h", "5 m"),
    "DeepFinder": ("50 h", "20 m"),
    "3D ResNet": ("5 h", "2 h"),
    "YOPO": ("8 h", "40 m"),
    "Dn3DUnet": ("15 h 10 m", "1 m 41 s"),
    "UMC": ("16 h", "42 m"),
    "TM-T/TM-F GPU": ("N/A", "27 h 24 m"),
    "TM-T/TM-F CPU": ("N/A", "1 h 24 m"),
}
"""Training and inference, each group on hardware of its own."""

VPDETECTOR_TABLE5: dict[str, tuple[str, str]] = {
    "VP-Detector": ("-", "13m44s = 8m16s(localization) + 5m28s(classification)"),
}
"""Inference on four RTX 2080 Ti, its own row; no training time is given."""

ACCURACY_COLUMNS = (*CLASS_COLUMNS[:5], "small", *CLASS_COLUMNS[5:10], "medium", *CLASS_COLUMNS[10:], "large")
VPDETECTOR_TABLE3: dict[str, tuple[float, ...]] = {
    "cross-entropy, tomograms 1-7, 40 layers": (
        0.16, 0.79, 0.57, 0.8, 0.41, 0.55, 0.68, 0.52, 0.84, 0.95, 0.86, 0.77, 0.99, 1, 1,
    ),
    "cross-entropy, tomograms 1-7, 60 layers": (
        0.52, 0.59, 0.84, 0.8, 0.69, 0.69, 0.76, 0.83, 0.93, 0.94, 0.95, 0.88, 0.98, 1, 0.99,
    ),
    "cross-entropy, tomograms 1-7, 80 layers": (
        0.5, 0.77, 0.8, 0.81, 0.71, 0.718, 0.8, 0.69, 0.97, 0.98, 0.92, 0.872, 1, 1, 1,
    ),
    "cross-entropy, tomograms 1-7, 100 layers": (
        0.47, 0.66, 0.92, 0.75, 0.83, 0.73, 0.88, 0.72, 0.89, 0.99, 0.96, 0.89, 0.99, 1, 1,
    ),
    "focal, tomograms 1-7, 100 layers": (
        0.66, 0.6, 0.85, 0.82, 0.76, 0.74, 0.83, 0.79, 0.96, 0.97, 0.94, 0.90, 1, 1, 1,
    ),
    "focal, tomograms 1,2, 100 layers": (
        0.64, 0.64, 0.68, 0.74, 0.69, 0.68, 0.71, 0.75, 0.95, 0.95, 0.94, 0.86, 0.99, 1, 1,
    ),
}  # fmt: skip
"""Class accuracy: particles found and rightly named / particles of the class, and its mean over each size group."""

VPDETECTOR_MEAN_SHIFT: dict[str, tuple[float | None, ...]] = {
    "VP-Detector before mean-shift": (None, None, None, None, 87, None, None, None, 0.916, None, 0.931),
}
"""Section 3.3.2, in the order of TABLE3_COLUMNS: "87 particles had more than one prediction"; with it, Table 1."""

DENSENET_COLUMNS = ("1s3x", "3qm1", "3gl1", "3d2f", "1u6g", "2cg9", "3h84", "1qvr", "1bxn", "3cf3", "4b4t", "4d8q")
DENSENET_TABLE2: dict[str, tuple[float, ...]] = {
    "SHREC'19's CNN": (0.154, 0.193, 0.318, 0.584, 0.522, 0.343, 0.332, 0.8, 0.904, 0.784, 0.907, 0.951),
    "3D-DenseNet": (0.522, 0.519, 0.644, 0.712, 0.58, 0.504, 0.563, 0.795, 0.958, 0.807, 1, 0.997),
    "3D-Dilated-DenseNet": (0.684, 0.485, 0.675, 0.778, 0.652, 0.565, 0.635, 0.855, 0.971, 0.846, 1, 0.997),
}
"""F1 of each class of SHREC'19; the first row is 'SHREC' in its table and 'SHREC-CNN' in its text."""

DEEPFINDER18_FIG8 = (
    'DeepFinder (2018, Fig. 8 and section 3.3.1; other data: nine classes, 13.68 A voxels): its mean F1 is "remarkably '
    'stable and produces nearly constant scores" for SNR 0.05, 0.10, 0.15 and tilts of 50, 60 and 70 degrees, while '
    "template matching loses 6 % from SNR 0.15 to 0.05 and 7 % from 70 to 50 degrees."
)
"""The figure's curves are not given as numbers."""

PUBLISHED_NAME = {
    "vp-detector": "VP-Detector", "ms-d": "3D MS-D", "deepfinder": "DeepFinder", "resnet3d": "3D ResNet",
    "yopo": "YOPO", "dn3dunet": "Dn3DUnet", "umc": "UMC", "tm-t": "TM-T", "tm-f": "TM-F",
    "densenet": "3D-DenseNet", "dilated-densenet": "3D-Dilated-DenseNet",
}  # fmt: skip
"""What the papers call a method of methods.catalogue."""

"""The paper's numbers are those that it prints."""

from __future__ import annotations

import itertools

from analysis import paper

# Typed from the paper once more, row by row, and not made from the data files.
TABLE2 = """
fedd3 86.70 88.91 88.36 64.35 74.13 75.15 38.54 39.37 40.53 65.11 66.00 65.62
dosfl 77.97 83.24 91.73 64.25 72.01 80.83 43.92 47.08 56.62 67.94 69.05 69.91
dense 66.61 76.48 95.82 50.29 83.96 85.94 50.26 59.76 62.19 55.34 79.59 80.03
localdm 96.10 96.93 97.17 84.18 84.5 84.24 52.93 52.17 54.22 70.04 70.69 71.49
collabdm 97.72 97.82 97.83 85.43 86.51 86.71 57.97 59.36 60.21 74.35 74.66 75.57
collabdm-pae 97.78 97.80 98.07 86.19 86.31 86.91 63.91 64.67 64.50 85.83 86.44 86.53
"""
TABLE3 = ((98.84, 96.49, 98.18, 97.60), (96.55, 94.21, 95.87, 94.19), (89.95, 86.31, 89.33, 91.30),
          (95.71, 93.22, 95.05, 94.16))  # fmt: skip


def test_table_2_is_as_printed():
    columns = list(itertools.product(("mnist", "fashion-mnist", "cifar10", "svhn"), (0.1, 0.3, 0.5)))
    printed = {}
    for line in TABLE2.split("\n")[1:-1]:
        method, *numbers = line.split()
        printed |= {(*column, method): float(number) for column, number in zip(columns, numbers, strict=True)}
    assert {key: quoted.percent for key, quoted in paper.table2().items()} == printed
    assert {(quoted.given, quoted.source) for quoted in paper.table2().values()} == {("printed", "Table 2")}


def test_table_3_is_as_printed_row_by_row():
    networks = ("convnet", "alexnet", "vgg11", "resnet18")
    rows = tuple(tuple(paper.table3()[row, column].percent for column in networks) for row in networks)
    assert rows == TABLE3


def test_of_the_figures_there_is_what_the_text_quotes():
    assert [(p.method, p.clients, p.images_per_class, p.upload_bytes, p.accuracy.value) for p in paper.figure2()] == [
        ("collabdm-pae", 5, 10, 4_300_000, 57),
        ("collabdm-pae", 5, 10, None, 59),
        ("collabdm-pae", 20, 10, None, 53),
        ("collabdm-pae", 5, 50, 3_270_000, 65),
    ]
    assert [(p.images_per_class, p.accuracy.value) for p in paper.figure3()] == [(1, 89), (10, 99)]


def test_a_setting_says_whether_the_paper_prints_it():
    settings = paper.settings("table2")
    assert (settings["method.images_per_class"].value, settings["method.images_per_class"].given) == (50, "printed")
    assert (settings["evaluation.epochs"].value, settings["evaluation.epochs"].given) == (1001, "published code")
    assert settings["partition.scheme"].value == "dirichlet"

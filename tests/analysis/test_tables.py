"""The paper's tables with our numbers in them, and how tables are written."""

from __future__ import annotations

import csv
import dataclasses
import io

import pytest

from analysis import table_forms
from analysis.observations import Estimate
from analysis.tables import TABLES, UnsupportedByRunsError, apart_by_settings, results, table2, table3
from tests.analysis.made import observed

SEEDS = [observed(seed=1, accuracy=0.96), observed(seed=2, accuracy=0.98)]


def test_table_2_sets_the_papers_number_beside_ours():
    (table,) = table2([*SEEDS, observed("fedavg", accuracy=0.5)])
    column = ("MNIST", "β = 0.1")
    assert table.columns == [column]
    assert table.rows == ["fedd3", "dosfl", "dense", "localdm", "collabdm", "collabdm-pae", "fedavg"]
    entry = table.entries["collabdm", column]
    assert (entry.ours.mean, entry.ours.n, entry.paper.value) == (pytest.approx(97), 2, 97.72)
    assert table.entries["dense", column].ours is None
    assert table.entries["fedavg", column].paper is None


def test_table_2_takes_lossy_copies_of_cifar10_for_the_papers_and_says_so():
    found = observed(dataset="CIFAR-10 (JPEG)", settings={"dataset.name": "cifar10-jpeg", "method.expand": 2})
    (table,) = table2([found])
    assert table.entries["collabdm-pae", ("CIFAR-10 (JPEG)", "β = 0.1")].paper.value == 63.91
    assert "lossy copies" in table.caption


def test_what_the_paper_has_not_has_no_number_of_its():
    (table,) = table2([observed(dataset="digits", settings={"dataset.name": "digits"})])
    assert table.rows == ["collabdm"]
    assert "The paper has none of these cells." in table.caption


def test_runs_that_differ_otherwise_are_not_thrown_together():
    tables = table2([observed(accuracy=0.9), observed(accuracy=0.1, settings={"partition.clients": 10})])
    assert [(table.name, table.title) for table in tables] == [
        ("table2-K-5", "Table 2 (K 5)"),
        ("table2-K-10", "Table 2 (K 10)"),
    ]
    assert [table.entries["collabdm", ("MNIST", "β = 0.1")].ours.mean for table in tables] == [90, 10]


def test_runs_on_other_samples_of_a_data_set_stand_in_other_tables():
    few, many = (
        observed(accuracy=accuracy, settings={"dataset.train_samples": samples})
        for samples, accuracy in ((100, 0.5), (1000, 0.9))
    )
    everything = observed(accuracy=0.95)
    column = ("MNIST", "β = 0.1")
    tables = table2([few, many, everything])
    assert [(table.title, table.entries["collabdm", column].ours.mean) for table in tables] == [
        ("Table 2 (train samples 100)", pytest.approx(50)),
        ("Table 2 (train samples 1000)", pytest.approx(90)),
        ("Table 2 (train samples not set)", pytest.approx(95)),
    ]


def test_a_data_set_that_lacks_a_setting_of_another_stands_beside_it():
    (table,) = table2([observed(), observed(dataset="digits", settings={"dataset.name": "digits", "dataset.side": 16})])
    assert table.title == "Table 2"
    assert [title for title, _ in table.columns] == ["MNIST", "digits"]


def test_each_factor_of_expansion_has_a_row_of_its_own():
    found = [
        observed(accuracy=accuracy, settings={"method.expand": factor}) for factor, accuracy in ((3, 0.9), (2, 0.5))
    ]
    (table,) = table2(found)
    column = ("MNIST", "β = 0.1")
    assert table.rows[-2:] == ["collabdm-pae (expand 2)", "collabdm-pae (expand 3)"]
    assert [table.entries[row, column].ours.mean for row in table.rows[-2:]] == [pytest.approx(50), pytest.approx(90)]
    assert table.entries["collabdm-pae (expand 3)", column].paper.value == 97.78


def test_a_real_run_is_not_taken_for_a_repeat_of_a_simulated_one():
    simulated = observed(accuracy=0.5)
    tables = table2([simulated, dataclasses.replace(simulated, world="real", accuracies={"convnet": [0.9]})])
    assert [table.title for table in tables] == ["Table 2 (world simulated)", "Table 2 (world real)"]


def test_a_cell_that_cannot_tell_its_runs_apart_is_refused():
    found = [observed(settings={"method.width": width}) for width in (8, 8.0)]  # equal, but not the same scenario
    with pytest.raises(UnsupportedByRunsError, match="a cell of collabdm would have to leave runs out: 2 groups"):
        table2(found)


def test_a_method_that_lacks_the_setting_stands_in_each_part():
    parts = list(
        apart_by_settings(
            [
                observed(settings={"method.iterations": 1}),
                observed(settings={"method.iterations": 2}),
                observed("localdm"),
            ],
            (),
        )
    )
    assert [(words, [found.method for found in part]) for words, part in parts] == [
        ("iterations 1", ["collabdm", "localdm"]),
        ("iterations 2", ["collabdm", "localdm"]),
    ]


def test_the_caption_says_in_what_we_differ_and_of_how_many():
    settings = {"method.images_per_class": 10, "evaluation.epochs": 1001}
    (table,) = table2([observed(seed=seed, settings=settings) for seed in (1, 2, 3)])
    assert "Differs from the paper (its value in brackets): method.images_per_class 10 (50)." in table.caption
    assert "Scenario made; MNIST; seeds 1, 2, 3, n = 3; ± is the standard deviation over seeds (n - 1)" in table.caption


def test_table_3_has_the_network_of_distillation_in_rows():
    found = observed(
        accuracies={"convnet": [0.9, 0.7], "alexnet": [0.6]},
        settings={"method.architecture": "vgg11", "evaluation.networks": ["convnet", "alexnet"]},
    )
    (table,) = table3([found])
    assert table.entries["vgg11", ("tested", "convnet")].ours == Estimate(80.0, 0.0, 1)
    assert table.entries["vgg11", ("tested", "convnet")].paper.value == 89.95
    assert table.entries["convnet", ("tested", "alexnet")].ours is None
    assert "rows: the network whose embeddings distilled the set" in table.caption


@pytest.mark.parametrize(
    ("name", "lacking"),
    [
        ("table2", "needs runs with partition.scheme: dirichlet"),
        ("table3", "several in evaluation.networks"),
    ],
)
def test_what_cannot_be_made_says_why(name, lacking):
    with pytest.raises(UnsupportedByRunsError, match=lacking):
        TABLES[name]([observed(settings={"partition.scheme": "iid"})])


def test_results_have_the_settings_that_differ_as_columns():
    found = [observed(settings={"partition.clients": clients}, upload_bytes=2000) for clients in (20, 5)]
    (table,) = results(found)
    assert table.columns[:3] == [("", "K"), ("accuracy", "%"), ("upload per client", "kB")]
    assert [table.texts[row, ("", "K")] for row in table.rows] == ["5", "20"]
    assert table.entries[table.rows[0], ("upload per client", "kB")].ours.mean == 2.0
    assert not any("energy" in title for title, _ in table.columns)


def test_settings_of_one_last_name_keep_their_columns():
    found = [
        observed(settings={"network.station.bandwidth": station, "network.core.bandwidth": core})
        for station, core in ((1, 10), (2, 20))
    ]
    (table,) = results(found)
    assert table.columns[:2] == [("", "station.bandwidth"), ("", "core.bandwidth")]
    assert [[table.texts[row, column] for column in table.columns[:2]] for row in table.rows] == [
        ["1", "10"],
        ["2", "20"],
    ]


def test_markdown():
    (table,) = table2(SEEDS)
    lines = table_forms.markdown(table).splitlines()
    assert lines[2:4] == ["| method | MNIST β = 0.1 |", "|---|--:|"]
    assert "| collabdm | 97.00 ± 1.41 [97.72] |" in lines
    assert f"| dense | {table_forms.NOTHING} [66.61] |" in lines


def test_a_cell_of_fewer_seeds_says_so():
    fewer = observed(seed=1, accuracy=0.5, settings={"partition.beta": 0.3})
    other = [observed(seed=seed, settings={"partition.beta": 0.5}) for seed in (1, 2)]
    (table,) = table2([*SEEDS, fewer, *other])
    assert table_forms.cell_text(table, "collabdm", ("MNIST", "β = 0.3")) == "50.00 [97.82] (n = 1)"


def test_latex_compiles_no_character_that_it_should_not():
    text = table_forms.latex(table2(SEEDS)[0])
    assert r"collabdm & 97.00 $\pm$ 1.41 [97.72] \\" in text
    assert r"& \multicolumn{1}{c}{MNIST} \\" in text
    assert r"method & $\beta$ = 0.1 \\" in text
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
    assert "β" not in text
    assert "±" not in text


def test_csv_has_a_line_an_entry():
    (table,) = results([observed(settings={"partition.clients": clients}) for clients in (5, 10)])
    rows = list(csv.DictReader(io.StringIO(table_forms.csv_text(table))))
    accuracies = [row for row in rows if row["group"] == "accuracy"]
    assert [(row["method"], row["K"], float(row["mean"]), row["n"]) for row in accuracies] == [
        ("collabdm", "5", 90.0, "1"),
        ("collabdm", "10", 90.0, "1"),
    ]
    paper = [row for row in csv.DictReader(io.StringIO(table_forms.csv_text(table2(SEEDS)[0]))) if row["paper"]]
    assert (paper[0]["method"], paper[0]["paper"], paper[0]["paper_source"]) == ("fedd3", "86.7", "Table 2")

from __future__ import annotations

import pytest

from analysis.captions import paper_traffic, titled
from analysis.charts import CHARTS
from analysis.tables import TABLES
from tests.analysis.made import observed


def of(name, dataset="MNIST", **settings):
    return observed(dataset=dataset, settings={"dataset.name": name, **settings})


SYNTHETIC = "synthetic traffic (5G-NIDD's form)"


def test_synthetic_traffic_is_called_so_in_a_title_once():
    made = of("5g-nidd-synthetic", SYNTHETIC)
    assert titled("Results", [of("mnist")]) == "Results"
    assert titled("Results", [of("5g-nidd", "5G-NIDD")]) == "Results"
    assert titled("Results", [made, of("mnist")]) == "Results, synthetic traffic"
    assert titled("Results (synthetic traffic)", [made]) == "Results (synthetic traffic)"
    assert titled("Results", [of("5g-nidd", SYNTHETIC)]) == "Results, synthetic traffic"  # its files in their place


OTHER = ("5g-nidd", "flow records in 5G-NIDD's form (not the published file)")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([("mnist", "MNIST")], "of other data than ours: 5G network traffic, which is not published"),
        (
            [("5g-nidd", "5G-NIDD")],
            "of the same data, 5G-NIDD; its images are not published, ours are made of the flow records",
        ),
        (
            [("5g-nidd", "5G-NIDD"), ("5g-nidd-synthetic", SYNTHETIC)],
            f"of real traffic, the published 5G-NIDD; ours is {SYNTHETIC}",
        ),
        ([("5g-nidd", SYNTHETIC)], f"of real traffic, the published 5G-NIDD; ours is {SYNTHETIC}"),
        ([OTHER], f"of real traffic, the published 5G-NIDD; ours is {OTHER[1]}"),
        (
            [("mnist", "MNIST"), ("5g-nidd", "5G-NIDD")],
            "of other data than ours: 5G network traffic, which is not published",
        ),
    ],
)
def test_the_papers_traffic_stands_beside_ours(data, words):
    assert paper_traffic([of(*each) for each in data]) == words


def test_every_table_and_figure_of_synthetic_traffic_says_so():
    found = [
        observed(
            method=method,
            dataset=SYNTHETIC,
            upload_bytes=1e4 * iterations,
            accuracies={"convnet": [0.9], "vgg11": [0.8]},
            settings={
                "dataset.name": "5g-nidd-synthetic",
                "method.iterations": iterations,
                "method.images_per_class": images,
                "method.architecture": "convnet",
            },
        )
        for method in ("collabdm", "localdm")
        for iterations in (10, 20)
        for images in (1, 5)
    ]
    made = [
        exhibit
        for make in (*TABLES.values(), *(CHARTS[name] for name in ("heat-map", "figure2", "figure3", "accuracy-bytes")))
        for exhibit in make(found)
    ]
    assert len({exhibit.name for exhibit in made}) >= 7
    for exhibit in made:
        assert "synthetic traffic" in exhibit.title
        assert SYNTHETIC in exhibit.caption

"""From files of flow records to images of a training and a test part."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from collab.data.flows import loading, reading
from collab.data.flows.flow_format import published_format
from collab.data.flows.loading import load_flows
from collab.data.flows.settings import NiddSettings
from collab.data.flows.sources import grouped
from collab.errors import DamagedDataError, DataError
from tests.collab.data.flows.records import form_of, write

NIDD = published_format("nidd")
COUNTED = form_of(
    features=[{"column": "n", "range": [0, 255]}, {"column": "m"}],
    label={"column": "kind", "classes": {"benign": ["web", "mail"], "attack": ["flood"]}},
    station={"column": "sensor"},
    session={"column": "day"},
)


def settings(**changes):
    return NiddSettings(name="5g-nidd", **{"side": 16, **changes})


def load(path, form=NIDD, flows=None, **changes):
    return load_flows([path], form, settings(**changes), flows=flows)


def counted(path, *groups):
    """Flows of (kind, sensor, day, how many), 16 of which make an image of 16 x 16 pixels in rows; `n` is the day's."""
    rows = [f"{day},{index},{kind},{sensor},{day}" for kind, sensor, day, count in groups for index in range(count)]
    return write(path, "n,m,kind,sensor,day", *rows)


ROWS = {"layout": "rows", "test_share": 0.5}


def test_the_images_of_synthetic_traffic(traffic):
    made = load(traffic, side=64)
    assert made.recipe.flows_per_image == 94
    whole = Counter()
    for part in (made.train, made.test):
        assert (part.images.dtype, part.images.shape) == (np.uint8, (len(part), 1, 64, 64))
        assert part.labels.dtype == np.int64
        whole.update(zip(part.sites.tolist(), part.labels.tolist(), strict=True))
    kinds = count_flows(traffic)
    for station in ("BTS_1", "BTS_2"):
        for number, attacks in enumerate(NIDD.label.classes.values()):
            assert whole[station, number] == sum(kinds[station, attack] // 94 for attack in attacks)
    assert len(made.test) == round(0.2 * sum(whole.values()))


def count_flows(path):
    """Flows by station and kind, from the README beside the file."""
    found = {}
    for line in (path.parent / "README.txt").read_text().splitlines():
        station, _, kinds = line.partition(": ")
        if station.startswith("BTS_"):
            for kind in kinds.split(", "):
                name, count = kind.split()
                found[station, name] = int(count)
    return found


def test_images_are_in_the_order_of_stations_and_rows(tmp_path):
    groups = [(kind, sensor, day, 16) for day in range(1, 9) for sensor in "ba" for kind in ("web", "flood")]
    form = COUNTED.model_copy(update={"features": COUNTED.features[:1]})
    made = load(counted(tmp_path / "a.csv", *groups), form, **ROWS)
    for part in (made.train, made.test):
        days = part.images[:, 0, 0, 0].tolist()
        order = [("ba".index(site), day) for site, day in zip(part.sites.tolist(), days, strict=True)]
        assert order == sorted(order)
        assert set(part.sites.tolist()) == {"a", "b"}


def test_images_do_not_depend_on_the_portions(traffic, monkeypatch):
    for changes in ({}, {"windows": "time", "scaling": "station", "split": "blocks"}):
        whole = load(traffic, **changes)
        with monkeypatch.context() as patched:
            patched.setattr(reading, "_BLOCK_BYTES", 100_003)
            pieces = load(traffic, **changes)
        assert whole.recipe == pieces.recipe
        assert (whole.train.digest(), whole.test.digest()) == (pieces.train.digest(), pieces.test.digest())
        assert whole.train.sites.tolist() == pieces.train.sites.tolist()


@pytest.mark.parametrize("classes", ["all", "two"])
def test_other_classes(traffic, classes):
    made = load(traffic, grouped(NIDD, classes), test_share=0.1)
    paper = load(traffic)
    names = made.recipe.format.class_names
    assert names[0] == "Benign"
    assert len(names) == {"all": 9, "two": 2}[classes]
    assert made.recipe.format.benign_class == 0
    assert len(made.train) + len(made.test) == len(paper.train) + len(paper.test)
    benign = [(part.train.labels == 0).sum() + (part.test.labels == 0).sum() for part in (made, paper)]
    assert benign[0] == benign[1]


def test_leaking_columns_are_black(traffic):
    kept, blank = (load(traffic, layout="rows", side=64, leaking_columns=how) for how in ("keep", "blank"))
    assert blank.recipe.blank == ("Seq", "Offset")
    places = [[feature.column for feature in NIDD.features].index(column) for column in ("Seq", "Offset")]
    assert kept.train.images[..., places].any()
    assert not blank.train.images[..., places].any()
    others = np.delete(np.arange(64), places)
    np.testing.assert_array_equal(kept.train.images[..., others], blank.train.images[..., others])


def test_windows_by_time_hold_flows_of_several_kinds(tmp_path):
    path = counted(tmp_path / "a.csv", *[("web", "a", 1, 24), ("flood", "a", 1, 8)] * 4)
    form = COUNTED.model_copy(update={"features": COUNTED.features[:1]})
    by_time = load(path, form, windows="time", **ROWS)
    assert sorted(by_time.train.labels.tolist() + by_time.test.labels.tolist()) == [0, 0, 0, 0, 1, 1, 1, 1]
    by_label = load(path, form, **ROWS)
    assert sorted(by_label.train.labels.tolist() + by_label.test.labels.tolist()) == [0] * 6 + [1] * 2


# -- scales --------------------------------------------------------------------------------------


def test_scales_are_those_of_the_training_flows(tmp_path):
    groups = [(kind, sensor, day, 64) for sensor in "ab" for kind in ("web", "flood") for day in (1, 2)]
    path = counted(tmp_path / "a.csv", *groups)
    made = load(path, COUNTED, scaling="training", **ROWS)
    assert made.recipe.ranges == {"": ((1, 2), (0, 63))}
    assert made.train.images[..., :2].max() == 255
    assert made.recipe.stations == ()
    own = load(path, COUNTED, scaling="station", **ROWS)
    assert set(own.recipe.ranges) == {"a", "b"}


def test_a_scale_comes_from_training_flows_only(tmp_path):
    path = counted(tmp_path / "a.csv", ("web", "a", 1, 32), ("flood", "a", 1, 32), ("web", "b", 9, 16))
    made = load(path, COUNTED, scaling="training", split="sessions", layout="rows")
    assert made.test.sites.tolist() == ["b"]
    assert made.recipe.ranges[""][0] == (0, 0) or made.recipe.ranges[""][0] == (1, 1)
    with pytest.raises(
        DataError, match=r"b would have no training images to take a scale from; use dataset\.scaling: r"
    ):
        load(path, COUNTED, scaling="station", split="sessions", layout="rows")


def test_infinite_values_are_no_ends_of_a_scale(tmp_path):
    rows = [
        f"{value},{index},{kind},a,1" for kind in ("web", "flood") for index in range(64) for value in ("inf", "7", "3")
    ]
    path = write(tmp_path / "a.csv", "n,m,kind,sensor,day", *rows)
    made = load(path, COUNTED, scaling="training", **ROWS)
    assert made.recipe.ranges[""][0] == (3, 7)
    assert set(made.train.images[..., 0].ravel().tolist()) == {0, 255}


def test_a_column_without_any_value_is_black(tmp_path):
    rows = [f"1,,{kind},a,1" for kind in ("web", "flood") for _ in range(64)]
    made = load(write(tmp_path / "a.csv", "n,m,kind,sensor,day", *rows), COUNTED, scaling="station", **ROWS)
    assert made.recipe.ranges["a"] == ((1, 1), (0, 0))
    assert not made.train.images.any()


def test_ranges_must_be_given_where_they_are_to_hold_everywhere(tmp_path):
    path = counted(tmp_path / "a.csv", ("web", "a", 1, 64), ("flood", "a", 1, 64))
    with pytest.raises(DataError, match=r"the mapping small gives no range for m; .* use dataset\.scaling: station"):
        load(path, COUNTED, **ROWS)


# -- unseen classes ------------------------------------------------------------------------------


def test_a_station_may_train_without_what_it_is_tested_on(traffic):
    seen = load(traffic)
    made = load(traffic, unseen={"BTS_2": ["HTTPFlood", "SYNScan"]})
    assert made.test.digest() == seen.test.digest()
    train, whole = (
        Counter(zip(part.sites.tolist(), part.labels.tolist(), strict=True)) for part in (made.train, seen.train)
    )
    assert train["BTS_2", 1] == 0 < whole["BTS_2", 1]
    assert 0 < train["BTS_2", 4] < whole["BTS_2", 4]  # the other anomalous attacks are left
    for key in {key for key in whole if key not in {("BTS_2", 1), ("BTS_2", 4)}}:
        assert train[key] == whole[key]


def test_by_time_a_station_trains_on_no_window_with_a_flow_of_what_is_unseen(tmp_path):
    """Days 1 to 8 of station a and 9 to 16 of b: benign windows, those of even days with one flow of the attack."""
    mixed = [(kind, "ab"[day > 8], day, count) for day in range(1, 17) for kind, count in parts_of(day)]
    floods = [("flood", sensor, day, 16) for sensor in "ab" for day in range(20, 24)]
    path = counted(tmp_path / "a.csv", *mixed, *floods)
    form = COUNTED.model_copy(update={"features": COUNTED.features[:1]})
    options = {**ROWS, "windows": "time", "test_share": 0.25}
    for name in ("flood", "attack"):  # an attack, and its class
        seen, made = load(path, form, **options), load(path, form, unseen={"b": [name]}, **options)
        assert made.test.digest() == seen.test.digest()
        lost = {
            (site, label, day)
            for site, label, day in windows_of(seen.train)
            if site == "b" and (day >= 20 or day % 2 == 0)
        }
        assert {label for _, label, _ in lost} == {0, 1}
        assert windows_of(made.train) == windows_of(seen.train) - lost
        assert len(made.train) == len(seen.train) - len(lost)


def parts_of(day):
    return [("web", 15), ("flood", 1)] if day % 2 == 0 else [("web", 16)]


def windows_of(part):
    """(station, class, day) of each image in rows of `counted`."""
    return set(zip(part.sites.tolist(), part.labels.tolist(), part.images[:, 0, 0, 0].tolist(), strict=True))


@pytest.mark.parametrize(
    ("unseen", "told"),
    [
        (
            {"BTS_2": ["HttpFlood"]},
            'dataset.unseen.BTS_2: there is no class or attack "HttpFlood"; did you mean "HTTPF',
        ),
        (
            {"BTS-2": ["HTTPFlood"]},
            'dataset.unseen: there is no station "BTS-2"; did you mean "BTS_2"? (known: BTS_1, ',
        ),
        ({"BTS_1": ["UDPFlood"], "BTS_2": ["UDPFlood"]}, "no image of UDPFlood is left to learn from"),
    ],
)
def test_what_cannot_be_unseen(traffic, unseen, told):
    with pytest.raises(DataError) as caught:
        load(traffic, unseen=unseen)
    assert told in str(caught.value)
    assert caught.value.exit_code == 5


# -- many images, and few ------------------------------------------------------------------------


def test_more_images_than_wanted_are_thinned_out_evenly(traffic):
    whole, few = load(traffic), load(traffic, most_images=300)
    total = len(whole.train) + len(whole.test)
    kept = len(few.train) + len(few.test)
    assert 150 < kept <= 300 < total
    assert few.left_out == ("Combined.csv gives more than 300 images: one of 16 is used (dataset.most_images)",)
    assert whole.left_out == ()
    classes = np.bincount(np.concatenate([few.train.labels, few.test.labels]), minlength=5)
    everything = np.bincount(np.concatenate([whole.train.labels, whole.test.labels]), minlength=5)
    assert (classes > 0).all()
    assert (np.abs(classes - everything / 16) < [2, 2, 2, 2, 10]).all()  # one more of each kind and station at most
    scaled = load(traffic, most_images=300, scaling="training")
    assert scaled.left_out == few.left_out
    assert len(scaled.train) == len(few.train)


def test_thinning_does_not_depend_on_when_it_happens(traffic, monkeypatch):
    few = load(traffic, most_images=200)
    monkeypatch.setattr(loading, "_PORTION", 7)
    monkeypatch.setattr(reading, "_BLOCK_BYTES", 50_000)
    again = load(traffic, most_images=200)
    assert (few.train.digest(), few.test.digest()) == (again.train.digest(), again.test.digest())


def test_more_kinds_of_traffic_than_images(tmp_path):
    path = counted(tmp_path / "a.csv", *[(kind, f"s{n}", 1, 16) for n in range(60) for kind in ("web", "flood")])
    with pytest.raises(
        DataError, match=r"a\.csv: there are more kinds of traffic, counted by station, than dataset\.most_im"
    ):
        load(path, COUNTED, scaling="training", most_images=100, **ROWS)


def test_a_station_with_too_few_flows_is_told(tmp_path):
    groups = [("web", "a", 1, 64), ("flood", "a", 1, 64), *[("web", f"s{n}", 1, 15) for n in range(7)]]
    made = load(counted(tmp_path / "a.csv", *groups), COUNTED, scaling="training", **ROWS)
    assert set(made.train.sites.tolist()) == {"a"}
    told = (
        "a.csv: too few flows for an image, which takes 16, of s0, s1, s2, s3, s4 and 2 more: no part is taken by them"
    )
    assert made.left_out == (told,)


THREE = form_of(
    features=[{"column": "n", "range": [0, 255]}],
    label={"column": "kind", "classes": {"benign": ["web"], "mail": ["mail"], "attack": ["flood"]}},
    station={"column": "sensor"},
    session={"column": "day"},
)


@pytest.mark.parametrize(
    ("split", "share", "judging", "lacking", "pronoun"),
    [
        ("sessions", 0.2, [2, 0, 0], "mail and attack", "them"),  # which have but a capture each
        ("blocks", 0.4, [0, 0, 1], "benign and mail", "them"),  # which have but an image in a capture
        ("random", 0.2, [2, 0, 1], "mail", "it"),
    ],
)
def test_a_class_that_no_image_judges_is_told(tmp_path, split, share, judging, lacking, pronoun):
    days = [("web", "a", day, 16) for day in range(1, 11)]
    path = counted(tmp_path / "a.csv", *days, ("flood", "a", 11, 32), ("mail", "a", 12, 16))
    made = load(path, THREE, layout="rows", split=split, test_share=share)
    assert np.bincount(made.test.labels, minlength=3).tolist() == judging
    assert made.left_out == (f"a.csv: no image of {lacking} judges; no accuracy says anything about {pronoun}",)


def test_captures_that_are_more_than_the_share_are_told(tmp_path):
    days = [("web", "a", day, 16) for day in range(1, 11)]
    path = counted(tmp_path / "a.csv", *days, ("flood", "a", 11, 48), ("flood", "a", 12, 48))
    form = COUNTED.model_copy(update={"features": COUNTED.features[:1]})
    made = load(path, form, layout="rows", split="sessions", test_share=0.2)
    assert np.bincount(made.test.labels).tolist() == [1, 3]
    assert made.left_out == ("a.csv: 25% of the images judge, not 20%: whole captures, at least one with each class",)
    few = counted(tmp_path / "b.csv", ("web", "a", 1, 48), ("flood", "a", 1, 48))
    made = load(few, form, layout="rows", split="blocks", test_share=0.5)
    assert np.bincount(made.test.labels).tolist() == [2, 2]  # of three, rounded: no capture was whole
    assert made.left_out == ()


@pytest.mark.parametrize(
    ("groups", "changes", "told"),
    [
        ([("web", "a", 1, 64), ("flood", "a", 1, 15)], {}, "attack is an empty class: no station has 16 flows of one"),
        ([("web", "a", 1, 64), ("flood", "a", 1, 8), ("flood", "b", 1, 8)], {}, "attack is an empty class"),
        ([("web", "a", 1, 64), ("flood", "a", 1, 15), ("flood", "a", 2, 15)], {"split": "blocks"},
         "of it in one capture session, which an image takes"),
        ([("web", "a", 1, 15)], {}, "benign and attack are empty classes"),
        ([("web", "a", 1, 60), ("flood", "a", 1, 4)], {"windows": "time"},
         "attack is an empty class: in no window of 16 flows are most of it; make images of fewer flows (dataset.side)"
         ", leave it out of the classes, or use dataset.windows: label"),
        ([("web", "a", 1, 64), ("flood", "a", 1, 16)], {"split_seed": 1, "test_share": 0.9}, "no image of attack"),
    ],
)  # fmt: skip
def test_a_class_that_is_empty(tmp_path, groups, changes, told):
    form = COUNTED.model_copy(update={"features": COUNTED.features[:1]})
    with pytest.raises(DataError) as caught:
        load(counted(tmp_path / "a.csv", *groups), form, **{**ROWS, **changes})
    assert "a.csv: " in str(caught.value)
    assert told in str(caught.value)


def test_files_without_flows(tmp_path):
    paths = [write(tmp_path / f"{name}.csv", "n,m,kind,sensor,day") for name in "ab"]
    with pytest.raises(DamagedDataError, match=r"a\.csv: found no flows, only a header"):
        load(paths[0], COUNTED, scaling="training")
    with pytest.raises(DamagedDataError, match="2 files: found no flows, only a header"):
        load_flows(paths, COUNTED, settings(scaling="training"))
    full = counted(tmp_path / "c.csv", ("web", "a", 1, 64), ("flood", "a", 1, 64))
    made = load_flows([*paths, full], COUNTED, settings(scaling="training", **ROWS))  # an hour in which nothing came
    assert len(made.train) == len(made.test) == 4


def test_the_number_of_flows_is_checked(traffic):
    rows = sum(count_flows(traffic).values())
    assert len(load(traffic, flows=rows).train)
    with pytest.raises(
        DamagedDataError, match=rf"Combined\.csv: found {rows:,} flows, expected 1,215,890: the file ends"
    ):
        load(traffic, flows=1_215_890)

"""From flow records to images, value for value."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydantic import ValidationError

from collab.data.flows.flow_format import published_format
from collab.data.flows.recipe import EVERYWHERE, FlowRecipe
from collab.errors import DataError
from tests.collab.data.flows.records import form_of

NIDD = published_format("nidd")
NAN = math.nan


def recipe(form=None, **changes):
    form = form or form_of()
    ranges = {EVERYWHERE: tuple(feature.known_range for feature in form.features)}
    whole = {"layout": "packed", "side": 8, "windows": "label", "pixels": "grey", "blank": (), "ranges": ranges}
    return FlowRecipe.model_validate({"format": form, **whole, **changes})


def shades(values, **changes):
    """Grey levels of one flow, the first of an image of eight of them."""
    chosen = recipe(layout="rows", **changes)
    flows = np.full((1, 8, len(chosen.format.features)), NAN, np.float32)
    flows[0, 0] = values
    image = chosen.render(flows)
    assert (image.dtype, image.shape) == (np.uint8, (1, 1, 8, 8))
    assert not image[0, 0, 1:].any()
    assert not image[0, 0, 0, len(values) :].any()
    return image[0, 0, 0, : len(values)].tolist()


def test_numbers_are_linear_or_logarithmic_within_their_range():
    middle = math.log1p(31) / math.log1p(1000) * 255
    assert shades([31, 0.5, 1]) == [round(middle), round(0.75 * 255), round(255 / 3)]
    assert shades([0, -1, 3]) == [0, 0, 255]
    assert shades([1000, 1, 2]) == [255, 255, 170]


def test_what_is_beyond_the_range_or_missing():
    assert shades([1e9, 7, 1]) == [255, 255, 85]
    assert shades([-5, -7, 1]) == [0, 0, 85]
    assert shades([math.inf, math.inf, 1]) == [255, 255, 85]
    assert shades([-math.inf, -math.inf, 1]) == [0, 0, 85]
    assert shades([NAN, NAN, NAN]) == [0, 0, 0]


def test_blank_columns_are_black_and_stay_where_they_are():
    assert shades([1000, 1, 3], blank=("load",)) == [255, 0, 255]


def test_black_and_white():
    assert shades([30, 0, 1], pixels="binary") == [0, 255, 0]  # just below, at, and below half the range
    assert shades([NAN, -0.01, 3], pixels="binary") == [0, 0, 255]


def test_a_feature_that_is_always_the_same_is_black():
    assert shades([5, 1, 3], ranges={EVERYWHERE: [(5, 5), (1, 1), (0, 3)]}) == [0, 0, 255]


def test_a_packed_image_holds_the_values_one_after_another_and_cuts_the_last_ones_off():
    """5G-NIDD's 94 flows of 44 values: 4,136 of which 4,096 have a place; each value is a grey level here."""
    form = NIDD.model_copy(
        update={"features": tuple(f.model_copy(update={"range": (0, 255), "scale": "linear", "values": ()})
                                  for f in NIDD.features)}
    )  # fmt: skip
    packed = recipe(form, side=64)
    assert packed.flows_per_image == 94
    values = np.random.default_rng(0).integers(0, 256, (3, 94, 44))
    images = packed.render(values)
    assert images.shape == (3, 1, 64, 64)
    np.testing.assert_array_equal(images.reshape(3, 4096), values.reshape(3, 4136)[:, :-40])
    changed = values.copy()
    changed.reshape(3, -1)[:, -40:] += 1
    np.testing.assert_array_equal(packed.render(changed), images)
    # A feature moves 44 pixels on from flow to flow, and not 64.
    assert images[0, 0, 0, 44] == values[0, 1, 0]
    assert images[0, 0, 1, 0] == values[0, 1, 20]


def test_an_image_of_rows_has_a_flow_in_each_row():
    rows = recipe(NIDD, side=64, layout="rows")
    assert rows.flows_per_image == 64
    values = np.zeros((2, 64, 44))
    values[1, 5, 10] = 255  # sTtl
    image = rows.render(values)
    assert image[1, 0, 5, 10] == 255
    image[1, 0, 5, 10] = 0
    assert not image.any()
    with pytest.raises(DataError, match=r"use dataset\.layout: packed"):
        _ = recipe(NIDD, side=32, layout="rows").flows_per_image


def test_each_station_may_have_ranges_of_its_own():
    chosen = recipe(layout="rows", ranges={"north": [(0, 1), (0, 1), (0, 3)], "south": [(0, 3), (0, 2), (0, 3)]})
    assert chosen.stations == ("north", "south")
    flows = np.ones((1, 8, 3))
    assert chosen.render(flows, "north")[0, 0, 0, :3].tolist() == [255, 255, 85]
    assert chosen.render(flows, "south")[0, 0, 0, :3].tolist() == [128, 128, 85]
    with pytest.raises(DataError, match=r'no ranges of a station "west" \(known: north, south\); name one of them'):
        chosen.render(flows, "west")


def test_ranges_of_all_stations_hold_for_each():
    assert recipe().stations == ()
    flows = np.ones((1, recipe().flows_per_image, 3))
    np.testing.assert_array_equal(recipe().render(flows, "anybody"), recipe().render(flows))


def test_a_recipe_survives_json():
    whole = recipe(NIDD, side=64, blank=("Seq", "Offset"))
    again = FlowRecipe.model_validate(json.loads(whole.model_dump_json()))
    assert again == whole
    assert again.flows_per_image == 94


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ranges": {EVERYWHERE: [(0, 1)]}}, "found 1 ranges for 3 features"),
        ({"blank": ("speed",)}, "speed is no feature"),
        ({"side": 4}, "greater than or equal to 8"),
        ({"ranges": {EVERYWHERE: [(0, math.inf)] * 3}}, "finite number"),
    ],
)
def test_a_recipe_that_cannot_be(changes, told):
    with pytest.raises(ValidationError, match=told):
        recipe(**changes)


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(np.float32, (2, 22, 3), elements=st.floats(width=32)),
    st.sampled_from(["packed", "rows"]),
    st.sampled_from(["grey", "binary"]),
)
def test_any_values_make_an_image_and_are_left_as_they_are(values, layout, pixels):
    chosen = recipe(layout=layout, pixels=pixels)
    values = values[:, : chosen.flows_per_image]
    before = values.copy()
    images = chosen.render(values)
    np.testing.assert_array_equal(values, before)
    assert images.shape == (2, 1, 8, 8)
    flat = np.nan_to_num(values.astype(np.float64), nan=0, posinf=1e38, neginf=-1e38)
    scaled = np.stack(
        [np.log1p(np.maximum(flat[..., 0], 0)) / np.log1p(1000), (flat[..., 1] + 1) / 2, flat[..., 2] / 3]
    )
    scaled = np.where(np.isnan(values), 0, np.moveaxis(np.clip(scaled, 0, 1), 0, -1))
    expected = np.zeros((2, 64))
    if layout == "packed":
        expected[:] = scaled.reshape(2, -1)[:, :64]
    else:
        expected.reshape(2, 8, 8)[..., :3] = scaled
    if pixels == "grey":
        assert np.abs(images.reshape(2, 64) - expected * 255).max() <= 0.5001
    else:
        clear = np.abs(expected - 0.5) > 1e-5
        np.testing.assert_array_equal((images.reshape(2, 64) == 255)[clear], (expected > 0.5)[clear])

"""Mappings of columns: 5G-NIDD's, and every mistake in one's own."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from pydantic import ValidationError

from collab.data.flows.flow_format import BUILT_IN, FlowFormat, published_format, read_format
from collab.errors import DataError
from tests.collab.data.flows.records import SMALL, form_of

NIDD = published_format(BUILT_IN)


def test_44_of_the_48_columns_of_5g_nidd_are_features():
    assert len(NIDD.columns) == 52
    assert len(NIDD.features) == 44
    lead, labels = {"Unnamed: 0"}, {"Label", "Attack Type", "Attack Tool"}
    features = [feature.column for feature in NIDD.features]
    assert set(NIDD.columns) - lead - labels - set(features) == {"sVid", "dVid", "sDSb", "dDSb"}
    assert features == [column for column in NIDD.columns if column in features]  # in the order of the file
    assert [feature.column for feature in NIDD.features if feature.is_text] == ["Proto", "Cause", "State"]
    assert [feature.column for feature in NIDD.features if feature.leaks] == ["Seq", "Offset"]
    assert all(feature.known_range is not None for feature in NIDD.features)


def test_words_are_coded_by_the_alphabet():
    for feature in NIDD.features:
        assert list(feature.values) == sorted(feature.values)
    proto = next(feature for feature in NIDD.features if feature.column == "Proto")
    assert proto.known_range == (0.0, 9.0)  # missing, eight protocols, another one


def test_the_nine_kinds_of_traffic_are_in_the_papers_five_classes():
    assert NIDD.class_names == ("Benign", "HTTPFlood", "SlowrateDoS", "UDPFlood", "Anomalous")
    assert Counter(NIDD.class_of_attack) == {0: 1, 1: 1, 2: 1, 3: 1, 4: 5}
    assert NIDD.benign_class == 0
    assert len(NIDD.attacks) == 9


@pytest.mark.parametrize(("side", "flows"), [(64, 94), (32, 24), (16, 6)])
def test_packed_images_take_as_many_flows_as_fill_them(side, flows):
    assert NIDD.flows_per_image(side, "packed") == flows


def test_an_image_of_rows_takes_a_flow_a_row():
    assert NIDD.flows_per_image(64, "rows") == 64
    with pytest.raises(DataError, match=r"44 features, and a row of the image 32 pixels; use dataset.layout: packed"):
        NIDD.flows_per_image(32, "rows")


def test_flows_can_be_grouped_in_other_classes():
    two = form_of().with_classes({"benign": ["web"], "rest": ["mail", "flood"]}, "benign")
    assert (two.class_names, two.class_of_attack, two.benign_class) == (("benign", "rest"), (0, 1, 1), 0)
    with pytest.raises(ValueError, match="small has no labels to group"):
        form_of(label=None, benign=None).with_classes({"a": ["b"], "c": ["d"]}, None)


def test_which_columns_are_read_and_how():
    label = {
        "rules": [{"when": {"port": ["80"], "load": ["0"]}, "label": "web"}],
        "otherwise": "flood",
        "classes": {"benign": ["web"], "attack": ["flood"]},
    }
    features = [{**each, "leaks": each["column"] == "load"} for each in SMALL["features"]]
    form = form_of(label=label, features=features, station={"column": "sensor"}, session={"falls": "start"})
    assert form.columns_of_text(labelled=True) == ("proto", "sensor", "port", "load")
    assert form.columns_of_text(labelled=False) == ("proto", "sensor")
    assert form.columns_of_numbers() == ("bytes", "load", "start")


def test_blanks_around_texts_of_a_mapping_do_not_count():
    form = FlowFormat.model_validate({**SMALL, "features": [{"column": " Flow Duration ", "values": [" a", "b "]}]})
    assert (form.features[0].column, form.features[0].values) == ("Flow Duration", ("a", "b"))


def test_a_whole_number_may_stand_for_a_text():
    form = form_of(label={"column": "kind", "classes": {"benign": [0], "attack": [1, "2"]}})
    assert form.attacks == ("0", "1", "2")


# -- mistakes, each told with its place ----------------------------------------------------------

WHOLE = """\
name: zeek
separator: "\\t"
comments: "#"
missing: ["-"]
features:
  - {column: duration, range: [0, 60], scale: log}
  - {column: proto, values: [icmp, tcp]}
label:
  column: kind
  classes: {good: [web, mail], bad: [flood]}
benign: good
station: {column: sensor}
session: {falls: ts}
"""
RULES = """\
name: zeek
features: [{column: duration, range: [0, 60]}]
label:
  rules:
    - {when: {port: ["80"]}, label: web}
  otherwise: flood
  classes: {good: [web], bad: [flood]}
"""
MISTAKES = [
    (WHOLE, "range: [0, 60]", "range: [60, 0]", "6:31: ... found 60 to 0; expected the lower end first"),
    (WHOLE, "range: [0, 60]", "range: [-2, 60]", "6:31: ... log(1 + x) has no place for -2"),
    (WHOLE, "range: [0, 60]", "range: [0]", "6:31: ... "),
    (WHOLE, "range: [0, 60]", "range: [0, .inf]", "6:35: ... found .inf, expected a finite number"),
    (WHOLE, "scale: log", "scale: lgo", '6:47: ... did you mean "log"?'),
    (WHOLE, "values: [icmp, tcp]", "values: [tcp, tcp]", "7:29: ... a value of proto is listed twice"),
    (WHOLE, "values: [icmp, tcp]", "values: [a], range: [0, 1]", "7:29: ... proto has values, so it is text"),
    (WHOLE, "values: [icmp, tcp]", "values: [6.5, true]", "7:30: ... found 6.5, expected a text"),
    (WHOLE, "values: [icmp, tcp]", 'values: [icmp, "-"]', '7:36: ... "-" is never found, since `missing`'),
    (WHOLE, "column: proto", "column: duration", "7:5: ... duration is listed twice"),
    (WHOLE, "column: proto", "column: kind", "8:1: ... kind is the label; it cannot be a feature, too"),
    (WHOLE, "column: proto", 'column: " "', "7:14: ... expected"),
    (WHOLE, "bad: [flood]", "bad: [mail]", '10:12: ... "mail" is listed twice; a flow is of one class'),
    (WHOLE, "bad: [flood]", "bad: []", "10:37: ... found [], expected at least 1"),
    (WHOLE, ", bad: [flood]", "", "10:12: ... expected at least 2"),
    (WHOLE, "  column: kind\n", "", "8:1: ... expected either a column or rules that say what a flow is"),
    (WHOLE, "benign: good", "benign: web", '11:9: ... there is no class "web" (known: good, bad)'),
    (WHOLE, "{column: sensor}", "{column: sensor, file: true}", "12:10: ... expected one of column, file and restarts"),
    (WHOLE, "session: {falls: ts}", "sesion: {falls: ts}", '13:1: ... did you mean "session"?'),
    (WHOLE, 'comments: "#"', 'comments: "\\t"', "3:11: ... it cannot begin comments, too"),
    (WHOLE, 'comments: "#"', "comments: '\"'", "3:11: ... expected one ASCII character"),
    (WHOLE, 'separator: "\\t"', "separator: ', '", "2:12: ... at most 1"),
    (WHOLE, 'separator: "\\t"', "separator: §", "2:12: ... expected one ASCII character"),
    (WHOLE, "name: zeek", "name: [", "3:1: ... not valid YAML"),
    (RULES, "label: web", "label: wbe", '5:7: ... "wbe" is in none of the classes (known: web, flood)'),
    (RULES, "otherwise: flood", "otherwise: food", '6:14: ... "food" is in none of the classes'),
    (RULES, "  otherwise: flood\n", "", "3:1: ... found rules only"),
    (RULES, "port: ", "duration: ", "2:12: ... duration decides in label.rules what a flow is, so as a feature"),
    (RULES, '["80"]', "[]", "5:21: ... expected at least 1"),
    (RULES, "rules:", "column: kind\n  rules:", "3:1: ... expected either a column or rules"),
]


@pytest.mark.parametrize(("text", "right", "wrong", "told"), MISTAKES, ids=[mistake[3] for mistake in MISTAKES])
def test_a_mistake_in_a_mapping_is_told_with_its_place(tmp_path, text, right, wrong, told):
    path = tmp_path / "zeek.yaml"
    path.write_text(text)
    assert read_format(path).name == "zeek"
    assert right in text
    path.write_text(text.replace(right, wrong, 1))
    with pytest.raises(DataError) as caught:
        read_format(path)
    place, _, sentence = told.partition("...")
    assert re.match(re.escape(f"{path}:{place.strip()}"), str(caught.value)), caught.value
    assert sentence.strip() in str(caught.value)


def test_a_mapping_that_is_not_there_or_no_text(tmp_path):
    with pytest.raises(DataError, match=r"the mapping .*none\.yaml cannot be read: .*No such file"):
        read_format(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"the mapping .*bytes\.yaml cannot be read: .*utf-8"):
        read_format(tmp_path / "bytes.yaml")


def test_formats_are_told_apart_by_what_they_say():
    assert form_of().model_dump_json() == FlowFormat.model_validate(form_of().model_dump()).model_dump_json()
    with pytest.raises(ValidationError, match="extra_forbidden"):
        form_of(colour="red")

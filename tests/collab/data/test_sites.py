from __future__ import annotations

import numpy as np
import pytest

from collab.data.dataset import Samples
from collab.data.sites import read_sites, site_names
from collab.errors import DataError


def table(tmp_path, text):
    path = tmp_path / "sites.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_the_site_of_every_file(tmp_path):
    path = table(tmp_path, "\ufefffile,scanner,site\na/1.png,x,ward 2\na/2.png,,ward 10\nb/3.png,y,ward 2\n")
    assert read_sites(path, ["b/3.png", "a/2.png"]).tolist() == ["ward 2", "ward 10"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: found the columns nothing; expected file and site among them"),
        ("name,site\n", ":1: found the columns name, site; expected file and site"),
        ("file,site\n1.png,\n", ":2: found no site; expected both"),
        ("file,site\n1.png\n", ":2: found no site; expected both"),
        ("file,site\n,a\n", ":2: found no file; expected both"),
        ("file,site\n1.png,a\n1.png,b\n", ":3: 1.png is at b here and at a above; a sample has one site"),
        ("file,site\n2.png,a\n", ": 1 of 1 files have no site here (1.png); add a row for each"),
        (b"file,site\n\xff,a\n", ": this is no UTF-8 text"),
    ],
)  # fmt: skip
def test_a_bad_table_is_named_with_its_line(tmp_path, text, message):
    path = table(tmp_path, text)
    with pytest.raises(DataError) as caught:
        read_sites(path, ["1.png"])
    assert str(caught.value).startswith(f"{path}{message}")


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"cannot be read: .*No such file"):
        read_sites(tmp_path / "sites.csv", [])


def test_names_are_ordered_as_people_count():
    sites = np.array(["ward-10", "ward-2", "annex", "ward-2", "7", "ward-02"])
    assert site_names(sites) == ["7", "annex", "ward-02", "ward-2", "ward-10"]


def test_the_site_stays_with_its_sample():
    samples = Samples(np.zeros((3, 1, 2, 2), np.uint8), np.arange(3), np.array(["a", "b", "c"]))
    taken = samples.take(np.array([2, 0]))
    assert taken.sites is not None
    assert taken.sites.tolist() == ["c", "a"]
    assert Samples(samples.images, samples.labels).take(np.array([1])).sites is None

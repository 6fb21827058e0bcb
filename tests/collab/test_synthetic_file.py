"""The synthetic set as a file: what goes in comes out, numpy alone reads it, and nothing else passes for one."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch

from collab import synthetic_file
from collab.data.flows.flow_format import published_format
from collab.data.flows.recipe import EVERYWHERE, FlowRecipe
from collab.errors import DamagedDataError, DataError, RunDirectoryError
from collab.matching import SyntheticSet
from collab.store import find_run
from tests.collab.recordings import record
from tests.collab.test_run import TEXT

CLASSES = {"0": ("Benign",), "1": ("HTTPFlood",), "2": ("UDPFlood",), "3": ("SYNScan",)}
NIDD = published_format("nidd").with_classes(CLASSES, "0")
RECIPE = FlowRecipe(
    format=NIDD, layout="packed", side=16, windows="label", pixels="grey", blank=("Seq",),
    ranges={EVERYWHERE: tuple(feature.known_range for feature in NIDD.features)},
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return find_run(
        str(record(tmp_path_factory.mktemp("runs"), "baselines=[localdm, fedavg]", BOUNDARIES, text=TEXT, name="one"))
    )


BOUNDARIES = "boundaries=[{to: cloud, allow: [embeddings, synthetic, model], answers: [seeds, model]}]"


@pytest.fixture(scope="module")
def whole(run):
    return synthetic_file.of_run(run, "collabdm")


@pytest.fixture
def path(tmp_path, whole):
    path = tmp_path / "set.npz"
    path.write_bytes(synthetic_file.packed(whole, "float32"))
    return path


def test_the_set_of_a_run_is_expanded_and_in_units_of_pixels(run, whole):
    method = run.methods[0]
    recorded = SyntheticSet(torch.from_numpy(method.images["images"]), torch.from_numpy(method.images["labels"]), 2)
    assert method.outcome["expand"] == 2
    torch.testing.assert_close(whole.synthetic.images, recorded.expanded().images, rtol=0, atol=0)
    assert whole.synthetic.labels.tolist() == recorded.labels.tolist() * 4
    # The Gaussians are normalised by a mean of 0.5 and a deviation of 0.25.
    np.testing.assert_allclose(whole.pixels, recorded.expanded().images.numpy() * 0.25 + 0.5, atol=1e-6)
    assert whole.class_names == ("0", "1", "2", "3")


def test_the_origin_says_how_the_run_judged(run, whole):
    origin = whole.origin
    assert (origin.title, origin.run, origin.method, origin.scenario, origin.seed) == (
        "gaussians", "one", "collabdm", "tiny", 3,
    )  # fmt: skip
    assert origin.accuracies == {"convnet": run.summary["methods"]["collabdm"]["accuracy"]}
    training = origin.training
    assert (training.architecture, training.width, training.depth, training.epochs) == ("convnet", 6, 2, 3)
    assert (training.batch_size, training.learning_rate, training.momentum) == (256, 0.01, 0.9)
    assert training.augmentation == ("color", "crop", "cutout", "flip", "scale", "rotate")
    assert synthetic_file.of_run(run, "localdm").origin.method == "localdm"


def test_numpy_alone_reads_it(path, whole):
    program = (
        "import json, sys, numpy as np\n"
        "with np.load(sys.argv[1], allow_pickle=False) as file:\n"
        "    about = json.loads(str(file['about']))\n"
        "    arrays = {name: file[name] for name in sorted(file.files) if name != 'about'}\n"
        "print([(name, values.dtype.str, values.shape) for name, values in arrays.items()])\n"
        "print(about['title'], about['method'], about['seed'], sorted(about['arrays']))\n"
        "assert not {'torch', 'collab'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    arrays, about = done.stdout.splitlines()
    assert arrays == str([
        ("class_names", "<U1", (4,)), ("images", "<f4", (32, 1, 16, 16)), ("labels", "<i8", (32,)),
        ("mean", "<f8", (1,)), ("std", "<f8", (1,)),
    ])  # fmt: skip
    assert about == "gaussians collabdm 3 ['class_names', 'images', 'labels', 'mean', 'std']"


@pytest.mark.parametrize(("precision", "step"), [("float32", 1e-6), ("float16", 1 / 2550)])
def test_it_comes_back(tmp_path, whole, precision, step):
    path = tmp_path / "set.npz"
    path.write_bytes(synthetic_file.packed(whole, precision))
    found = synthetic_file.read(path)
    within = np.abs(whole.pixels) <= 1  # beyond, float16 is coarser
    assert np.abs(found.pixels - whole.pixels)[within].max() <= step
    assert found.synthetic.labels.tolist() == whole.synthetic.labels.tolist()
    assert found.synthetic.expand == 1
    assert (found.class_names, found.mean, found.std) == (whole.class_names, (0.5,), (0.25,))
    assert (found.origin, found.spec) == (whole.origin, whole.spec)


def test_the_same_set_gives_the_same_bytes(whole):
    assert synthetic_file.packed(whole, "float16") == synthetic_file.packed(whole, "float16")


def changed(whole, **changes):
    origin = whole.origin.model_copy(update=changes)
    return synthetic_file.GlobalSet(whole.synthetic, whole.class_names, whole.mean, whole.std, origin)


def test_the_recipe_of_flow_records_comes_back(tmp_path, whole):
    path = tmp_path / "set.npz"
    traffic = changed(whole, recipe=RECIPE, title="synthetic traffic (5G-NIDD's form)", benign="0")
    path.write_bytes(synthetic_file.packed(traffic, "float16"))
    found = synthetic_file.read(path).origin
    assert found == traffic.origin
    flows = np.random.default_rng(0).uniform(0, 300, (2, 6, 44))
    np.testing.assert_array_equal(found.recipe.render(flows), RECIPE.render(flows))
    with np.load(path) as file:
        about = json.loads(str(file["about"]))
    assert about["title"] == "synthetic traffic (5G-NIDD's form)"
    assert about["recipe"]["format"]["features"][0]["column"] == "Seq"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"side": 64}, "its images are 1x16x16, the recipe makes 1x64x64"),
        ({"format": published_format("nidd")}, "its classes are 0, 1, 2, 3, those of its recipe Benign, HTTPFlood, "),
    ],
)
def test_a_recipe_that_does_not_fit_the_images_is_neither_written_nor_read(path, whole, changes, reason):
    recipe = RECIPE.model_copy(update=changes)
    with pytest.raises(DataError, match=f"the set of collabdm is not consistent: {reason}"):
        synthetic_file.packed(changed(whole, recipe=recipe), "float16")
    altered(path, about=about_with(path, recipe=recipe.model_dump(mode="json")))
    with pytest.raises(DamagedDataError, match=reason):
        synthetic_file.read(path)


def test_more_than_would_be_read_back_is_not_written(whole, monkeypatch):
    monkeypatch.setattr(synthetic_file, "_MOST_BYTES", synthetic_file._ALL_OTHERS_BYTES + 20_000)
    assert synthetic_file.packed(whole, "float16")
    with pytest.raises(DataError, match="collabdm: the images are 32,768 bytes in float32, too many for a file"):
        synthetic_file.packed(whole, "float32")


def test_what_diverged_is_not_written(whole):
    images = whole.synthetic.images.clone()
    images[0, 0, 0, 0] = 1e9
    diverged = synthetic_file.GlobalSet(
        SyntheticSet(images, whole.synthetic.labels), whole.class_names, whole.mean, whole.std, whole.origin
    )
    with pytest.raises(DataError, match="collabdm: pixels of the synthetic set are no numbers that float16 can hold"):
        synthetic_file.packed(diverged, "float16")
    assert synthetic_file.packed(diverged, "float32")


# -- runs that have none -------------------------------------------------------------------------


def test_a_method_that_yields_a_network_has_no_set(run):
    with pytest.raises(DataError, match=r"fedavg of .*one yields a network, no .* --method: collabdm, localdm$"):
        synthetic_file.of_run(run, "fedavg")


def test_an_older_run_is_told_apart_from_a_damaged_one(tmp_path):
    old = find_run(str(record(tmp_path, "partition.clients=2", name="old")))
    (old.path / "dataset.json").unlink()
    with pytest.raises(
        RunDirectoryError, match=r"older version, which kept no dataset\.json; run it again: collab run"
    ):
        synthetic_file.of_run(old, "collabdm")
    damaged = find_run(str(record(tmp_path, "partition.clients=2", name="damaged")))
    recipe = RECIPE.model_copy(update={"side": 64}).model_dump(mode="json")
    (damaged.path / "dataset.json").write_text(json.dumps({**damaged.dataset, "recipe": recipe}))
    with pytest.raises(RunDirectoryError, match=r"damaged is damaged: its classes are 0, 1, those of its recipe 0, 1"):
        synthetic_file.of_run(find_run(str(damaged.path)), "collabdm")
    described = {**damaged.dataset, "side": 9}
    (damaged.path / "dataset.json").write_text(json.dumps(described))
    with pytest.raises(RunDirectoryError, match=r"damaged is damaged: collabdm has images \[2, 1, 8, 8\]"):
        synthetic_file.of_run(find_run(str(damaged.path)), "collabdm")
    del described["mean"]
    (damaged.path / "dataset.json").write_text(json.dumps(described))
    with pytest.raises(RunDirectoryError, match=r"is damaged: .* mean Field required"):
        synthetic_file.of_run(find_run(str(damaged.path)), "collabdm")


# -- files that are none -------------------------------------------------------------------------


def altered(path, **arrays):
    """The same file with some arrays changed; None takes one out."""
    with np.load(path, allow_pickle=False) as file:
        found = {**file, **arrays}
    np.savez_compressed(path, **{name: values for name, values in found.items() if values is not None})


def about_with(path, **changes):
    with np.load(path, allow_pickle=False) as file:
        return np.array(json.dumps({**json.loads(str(file["about"])), **changes}))


def test_no_file(tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*none\.npz; make one with: collab export-synthetic RUN"):
        synthetic_file.read(tmp_path / "none.npz")


def test_a_file_cut_off_anywhere_is_damaged(path):
    content = path.read_bytes()
    for length in range(0, len(content), len(content) // 40):
        path.write_bytes(content[:length])
        with pytest.raises(DamagedDataError, match=r"set\.npz is damaged, or no synthetic set"):
            synthetic_file.read(path)


def test_a_flipped_bit_is_noticed_or_changes_nothing(path, whole):
    content = path.read_bytes()
    noticed = 0
    for place in range(0, len(content), 23):
        path.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
        try:
            found = synthetic_file.read(path)
        except DamagedDataError:
            noticed += 1
        else:
            assert (found.origin, found.class_names, found.mean) == (whole.origin, whole.class_names, whole.mean)
            np.testing.assert_allclose(found.pixels, whole.pixels, atol=1e-6)
    assert noticed > 0.9 * len(content) / 23


class Bomb:
    def __reduce__(self):
        return (print, ("unpickled",))


def test_what_is_pickled_is_refused_and_never_run(path, capsys):
    altered(path, class_names=np.array([Bomb(), Bomb()], dtype=object))
    with pytest.raises(DamagedDataError, match="allow_pickle=False"):
        synthetic_file.read(path)
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("images", "labels", "class_names", "mean", "std", "about"):
            archive.writestr(name + ".npy", b"\x80\x04K\x01.")
    with pytest.raises(DamagedDataError):
        synthetic_file.read(path)
    assert capsys.readouterr().out == ""


def test_an_archive_that_unpacks_to_too_much_is_refused_unread(path, monkeypatch):
    monkeypatch.setattr(synthetic_file, "_MOST_BYTES", 1000)
    with pytest.raises(DamagedDataError, match=r"it unpacks to [\d,]+ bytes, expected at most 1,000"):
        synthetic_file.read(path)


def test_a_header_that_promises_more_than_there_is_is_damage(path):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": (10**9, 10**6, 4, 4)})
    with np.load(path, allow_pickle=False) as file:
        others = {name: file[name] for name in file.files if name != "images"}
    np.savez(path, **others)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("images.npy", head.getvalue())
    promised = r"images\.npy is to hold 64,000,000,000,000,000 bytes by its header, found 0"
    with pytest.raises(DamagedDataError, match=promised):
        synthetic_file.read(path)


def test_images_are_normalised_alike_in_whatever_portions(path, monkeypatch, whole):
    monkeypatch.setattr(synthetic_file, "_PORTION", 5)
    found = synthetic_file.read(path)
    torch.testing.assert_close(found.synthetic.images, whole.synthetic.images, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"labels": None, "std": None}, "it has no labels, std"),
        ({"images": np.zeros((4, 1, 8, 8), np.uint8)}, r"images are uint8 \[4, 1, 8, 8\], expected float16 or float32"),
        ({"images": np.zeros((4, 8, 8), np.float32)}, r"images are float32 \[4, 8, 8\]"),
        ({"images": np.zeros((0, 1, 8, 8), np.float32)}, "there are no images"),
        ({"images": np.full((32, 1, 8, 8), np.nan, np.float32)}, "pixels that are no numbers"),
        ({"labels": np.zeros(31, np.int64)}, r"labels are int64 \[31\], expected int64 \[32\]"),
        ({"labels": np.full(32, 4)}, "labels go from 4 to 4, expected 0 to 3"),
        ({"labels": np.full(32, -1)}, "labels go from -1 to -1"),
        ({"class_names": np.array(["one"])}, "expected the names of two classes at least"),
        ({"class_names": np.arange(4)}, r"class_names are int64 \[4\]"),
        ({"mean": np.zeros(3)}, "expected a number for each of 1 channels"),
        ({"std": np.zeros(1)}, "std is not above 0"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_go_together_are_named(path, arrays, reason):
    altered(path, **arrays)
    with pytest.raises(DamagedDataError, match=reason):
        synthetic_file.read(path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"form": "collab synthetic set 2"}, "about, form: Input should be 'collab synthetic set 1'"),
        ({"recipe": {"layout": "packed"}}, r"about, recipe\.format: Field required"),
        ({"more": 1}, "about, more: Extra inputs"),
        ({"benign": "peace"}, 'benign is "peace", expected one of 0, 1, 2, 3'),
        ({"scenario_sha256": "?"}, "about, scenario_sha256: String should match"),
    ],
)
def test_another_about_is_named(path, changes, reason):
    altered(path, about=about_with(path, **changes))
    with pytest.raises(DamagedDataError, match=reason):
        synthetic_file.read(path)


def test_an_about_that_is_no_json_is_named(path):
    altered(path, about=np.array("{"))
    with pytest.raises(DamagedDataError, match="about, all: Invalid JSON"):
        synthetic_file.read(path)

from __future__ import annotations

import numpy as np
import pytest
import torch

from collab.data import (
    DigitsSettings,
    DirichletSettings,
    GaussiansSettings,
    GuaranteedSettings,
    IidSettings,
    SiteData,
    data_dir,
    digits,
    divide,
    load_dataset,
)
from collab.errors import DataError


def test_digits_are_enlarged_and_split_once():
    train, test = digits.load(16)
    assert train.images.shape == (1297, 1, 16, 16)
    assert test.images.shape == (500, 1, 16, 16)
    assert np.bincount(np.concatenate([train.labels, test.labels])).tolist() == [
        178, 182, 177, 183, 181, 182, 181, 179, 174, 180,
    ]  # fmt: skip
    again, _ = digits.load(16)
    np.testing.assert_array_equal(train.images, again.images)


def test_damaged_digits_are_noticed(monkeypatch):
    monkeypatch.setattr(digits, "_SHA256", "0" * 64)
    with pytest.raises(DataError, match="are damaged"):
        digits.load(16)


def test_normalisation_gives_mean_zero_and_deviation_one():
    dataset = load_dataset(DigitsSettings(name="digits"), 0)
    values = dataset.spec.normalise(dataset.train.images)
    assert values.dtype == torch.float32
    assert abs(float(values.mean())) < 0.01
    assert abs(float(values.std()) - 1) < 0.01


def test_gaussians_are_a_function_of_the_seed():
    settings = GaussiansSettings(name="gaussians", classes=3, channels=3, side=12, samples_per_class=10)
    first, same, other = (load_dataset(settings, seed) for seed in (1, 1, 2))
    assert first.train.images.shape == (30, 3, 12, 12)
    assert len(first.test) == 15
    np.testing.assert_array_equal(first.train.images, same.train.images)
    assert (first.train.images != other.train.images).any()


def test_fewer_samples_on_request():
    dataset = load_dataset(DigitsSettings(name="digits", train_samples=100, test_samples=50), 0)
    assert (len(dataset.train), len(dataset.test)) == (100, 50)
    assert len(np.unique(dataset.train.labels)) == 10


def test_a_site_serves_its_classes():
    dataset = load_dataset(GaussiansSettings(name="gaussians", samples_per_class=20), 0)
    keep = np.flatnonzero(dataset.train.labels != 2)[:50]
    site = SiteData(dataset.train.take(keep), dataset.spec)
    assert site.classes_present == [0, 1, 3]
    assert site.counts.tolist() == [20, 20, 0, 10]
    assert len(site) == 50
    ones = dataset.spec.normalise(dataset.train.images[dataset.train.labels == 1])
    torch.testing.assert_close(site.of_class(1), ones)
    draws = np.random.default_rng(0)
    assert site.draw(3, 4, draws).shape == (4, 1, 16, 16)
    assert site.draw(3, 400, draws).shape == (10, 1, 16, 16)  # no more than there are
    assert site.draw(3, None, draws).shape == (10, 1, 16, 16)


def test_draws_are_without_replacement():
    dataset = load_dataset(GaussiansSettings(name="gaussians", classes=2, samples_per_class=20), 0)
    site = SiteData(dataset.train, dataset.spec)
    drawn = site.draw(0, 19, np.random.default_rng(0)).reshape(19, -1)
    assert len(torch.unique(drawn, dim=0)) == 19


def test_division_follows_the_settings():
    labels = np.repeat(np.arange(4), 50)
    for settings in (
        IidSettings(scheme="iid", clients=4),
        DirichletSettings(scheme="dirichlet", clients=4, beta=0.5),
        GuaranteedSettings(scheme="dirichlet_guaranteed", clients=4, beta=0.5),
    ):
        parts = divide(settings, labels, 3, seed=1)
        assert len(parts) == 4
        assert sum(map(len, parts)) == 200
    counts = [np.bincount(labels[part], minlength=4).min() for part in parts]
    assert min(counts) >= 3  # images_per_class is what is guaranteed unless told otherwise


def test_the_data_directory_is_named_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("COLLAB_DATA_DIR", str(tmp_path))
    assert data_dir() == tmp_path
    monkeypatch.delenv("COLLAB_DATA_DIR")
    assert data_dir().name == "data"

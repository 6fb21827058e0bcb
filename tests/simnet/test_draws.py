from __future__ import annotations

from simnet.draws import generator, key


def test_a_purpose_always_gets_the_same_numbers():
    # A golden value: if it changes, every result that was ever published changes.
    assert key(7, "jitter", 3) == 12445448605646490839
    assert generator(7, "jitter", 3).random() == generator(7, "jitter", 3).random()


def test_purposes_do_not_share_numbers():
    keys = {key(seed, name, index) for seed in (0, 1) for name in ("a", "b") for index in range(50)}
    assert len(keys) == 200


def test_a_number_and_its_digits_are_different_names():
    assert key(0, "site", 1) != key(0, "site", "1")

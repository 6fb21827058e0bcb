"""Secure sums by themselves: right with sites that drop out, nothing to be seen of one, lies refused."""

from __future__ import annotations

import hashlib
from math import sqrt

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from collab.errors import RunFailedError
from collab.privacy.ring import Ring
from collab.privacy.secure_sums import (
    SEALED_BYTES,
    Collector,
    Participant,
    PublicKeys,
    Roster,
    default_threshold,
    usable,
)

PRIME = 2**255 - 19


class Sum:
    """Sites with vectors of their own, and a server that plays by the book; `dropped` says who is gone before what."""

    def __init__(self, sites=10, length=50, threshold=None, bits=64, seed=0):
        draws = np.random.default_rng(seed)
        self.vectors = draws.integers(-(2**20), 2**20, (sites, length))
        self.sites = [Participant(hashlib.sha256(f"{seed}/{site}".encode()).digest()) for site in range(sites)]
        self.threshold, self.bits = threshold, bits
        self.uploads = {}

    def run(self, **dropped):
        """The total; the sites `dropped` under the name of a phase are gone from then on."""
        there = [site for site in range(len(self.sites)) if site not in dropped.get("keys", ())]
        each = [self.sites[site].keys() for site in there]
        self.roster = Roster(joined(each), self.threshold, self.bits)
        row_of = {site: row for row, site in enumerate(there)}
        there = [site for site in there if site not in dropped.get("shares", ())]
        shares = {row_of[site]: self.sites[site].shares(self.roster) for site in there}
        members = sorted(shares)
        there = [site for site in there if site not in dropped.get("masked", ())]
        collector = Collector(self.roster, members, self.vectors.shape[1])
        for site in there:
            self.uploads[site] = self.sites[site].masked(self.roster, members, self.vectors[site])
            collector.add(row_of[site], self.uploads[site])
        self.summed = there
        survivors = collector.survivors
        there = [site for site in there if site not in dropped.get("unmask", ())]
        revealed = {}
        for site in there:
            sealed = np.zeros((self.roster.size, SEALED_BYTES), np.uint8)
            for member in members:
                sealed[member] = shares[member][row_of[site]]
            revealed[row_of[site]] = self.sites[site].unmasking(self.roster, members, survivors, sealed)
        self.collector, self.revealed = collector, revealed
        return collector.total(revealed)

    @property
    def expected(self):
        return self.vectors[self.summed].sum(axis=0)


def joined(each):
    return PublicKeys(
        np.concatenate([keys.encryption for keys in each]), np.concatenate([keys.masking for keys in each])
    )


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("sites", [2, 3, 10])
def test_the_total_is_the_sum(sites, bits):
    sums = Sum(sites, bits=bits)
    assert sums.run().tolist() == sums.expected.tolist()
    assert len(sums.summed) == sites


@pytest.mark.parametrize("phase", ["keys", "shares", "masked", "unmask"])
def test_of_ten_sites_three_may_drop_out_at_each_phase(phase):
    sums = Sum(10)
    assert sums.run(**{phase: {1, 4, 9}}).tolist() == sums.expected.tolist()
    assert sums.summed == ([0, 2, 3, 5, 6, 7, 8] if phase != "unmask" else list(range(10)))


def test_three_may_drop_out_at_every_phase_one_after_the_other():
    sums = Sum(26, threshold=12)  # of the 23 that publish keys, of which 14 are there to the end
    dropped = {"keys": {0, 1, 2}, "shares": {3, 10, 25}, "masked": {4, 11, 18}, "unmask": {5, 12, 17}}
    assert sums.run(**dropped).tolist() == sums.expected.tolist()
    assert sums.summed == [5, 6, 7, 8, 9, 12, 13, 14, 15, 16, 17, 19, 20, 21, 22, 23, 24]


@pytest.mark.parametrize("drop", [{"shares": {1, 2}, "unmask": {5}}, {"masked": {0, 9}, "unmask": {1}}])
def test_one_or_two_drop_out_at_several_phases(drop):
    sums = Sum(10)
    assert sums.run(**drop).tolist() == sums.expected.tolist()


@pytest.mark.parametrize(
    ("phase", "told"),
    [
        ("shares", "6 of 10 sites shared their secrets"),
        ("masked", "6 of 10 sites sent masked sums"),
        ("unmask", "6 of 10 sites helped to unmask"),
    ],
)
def test_below_the_threshold_the_sum_stays_hidden(phase, told):
    with pytest.raises(RunFailedError) as caught:
        Sum(10).run(**{phase: {0, 1, 2, 3}})
    assert str(caught.value) == (
        f"{told}, fewer than the threshold of 7: the sum stays hidden. "
        "Start anew with the sites that are there, or set a lower threshold"
    )


def test_fewer_keys_than_a_threshold_that_was_set_are_too_few():
    with pytest.raises(RunFailedError, match=r"^6 sites published keys, fewer than the threshold of 7"):
        Sum(10, threshold=7).run(keys={0, 1, 2, 3})


@pytest.mark.parametrize(("sites", "threshold"), [(2, 2), (3, 3), (5, 4), (10, 7), (100, 67)])
def test_the_default_threshold_is_more_than_two_thirds(sites, threshold):
    assert default_threshold(sites) == threshold


def test_a_threshold_that_two_halves_could_meet_is_refused():
    with pytest.raises(RunFailedError) as caught:
        Sum(10, threshold=5).run()
    assert str(caught.value).endswith("for one secret each of the same site; expected at least 6")


# -- what can be seen ----------------------------------------------------------------------------


def test_single_uploads_cannot_be_told_from_uniform_ring_elements():
    """Of vectors that are all zero: chi-square over bytes in each of their 8 places, and serial correlation.

    With 255 degrees of freedom chi-square has the mean 255 and the deviation sqrt(510); a bound of 6 deviations is
    crossed by less than one of 10^7 uniform vectors, and by far by the plain ones.
    """
    sums = Sum(5, length=40_000)
    sums.vectors[:] = 0
    assert sums.run().tolist() == [0] * 40_000
    for upload in sums.uploads.values():
        assert chi_square(upload.view(np.uint8).reshape(-1, 8)).max() < 255 + 6 * sqrt(510)
        assert abs(serial_correlation(upload)) < 6 / sqrt(40_000)
        assert abs(upload.view(np.uint8).astype(float).mean() - 127.5) < 6 * 73.9 / sqrt(8 * 40_000)


def test_the_statistics_see_what_is_not_masked():
    draws = np.random.default_rng(1)
    plain = Ring(64).elements(draws.integers(-(2**40), 2**40, 40_000))
    assert chi_square(plain.view(np.uint8).reshape(-1, 8)).max() > 1e5
    assert abs(serial_correlation(Ring(64).elements(np.arange(40_000) << 45))) > 0.9


def test_uploads_of_different_sites_and_different_sums_are_unrelated():
    sums, others = Sum(4, length=20_000), Sum(4, length=20_000, seed=1)
    sums.run()
    others.run()
    uploads = np.array([*sums.uploads.values(), *others.uploads.values()]).astype(float)
    correlation = np.corrcoef(uploads)
    assert np.abs(correlation - np.eye(8)).max() < 6 / sqrt(20_000)


def test_all_but_one_upload_and_every_pairwise_mask_hide_what_is_left():
    """A site that was given up: the server gets its masking secret, and so its pairwise masks. When its upload comes
    late, the mask that is its own still hides it.
    """
    sums = Sum(5, length=40_000)
    sums.run(masked={2})
    late = sums.sites[2].masked(sums.roster, range(5), np.zeros(40_000, np.int64))
    secret = sums.sites[2]._masking  # what the server restores by the shares of the others
    for row in (0, 1, 3, 4):
        sums.roster.ring.add_mask(late, sums.roster.mask_key(secret, 2, row), -1 if row > 2 else 1)
    assert chi_square(late.view(np.uint8).reshape(-1, 8)).max() < 255 + 6 * sqrt(510)
    sums.roster.ring.add_mask(late, sums.sites[2]._self_mask(sums.roster), -1)
    assert not late.any()  # nothing else hid it


def chi_square(octets):
    """Of each column of octets [n, places], against all 256 alike."""
    counts = np.array([np.bincount(column, minlength=256) for column in octets.T])
    expected = len(octets) / 256
    return ((counts - expected) ** 2 / expected).sum(axis=1)


def serial_correlation(elements):
    values = elements.astype(float)
    return np.corrcoef(values[:-1], values[1:])[0, 1]


# -- lies and accidents --------------------------------------------------------------------------


def test_the_same_site_says_the_same_twice():
    """Nothing is kept across a reboot: all follows from the secret."""
    first, second = Sum(4), Sum(4)
    assert first.run().tolist() == second.run().tolist()
    assert all((first.uploads[site] == second.uploads[site]).all() for site in range(4))
    assert (first.sites[0].shares(first.roster) == second.sites[0].shares(first.roster)).all()


def test_shares_can_be_opened_by_their_receiver_only_and_as_they_were_sent():
    sums = Sum(4)
    sums.run()
    sealed = np.array([sums.sites[sender].shares(sums.roster)[1] for sender in range(4)])
    site, rows = sums.sites[1], range(4)
    whole = site.unmasking(sums.roster, rows, rows, sealed)
    assert whole.shape == (4, 33)
    altered = sealed.copy()
    altered[3, 7] ^= 1
    assert not site.unmasking(sums.roster, rows, rows, altered)[3].any()
    assert (site.unmasking(sums.roster, rows, rows, altered)[:3] == whole[:3]).all()
    others = sums.sites[2].unmasking(sums.roster, rows, rows, sealed)
    assert [bool(share.any()) for share in others] == [False, False, True, False]  # its own it has anyway


def test_shares_that_cannot_be_opened_are_made_up_for_by_others():
    """A site that has sent nonsense to some does not stop the others, as long as a threshold of shares is right."""
    sums = Sum(5, threshold=3)
    expected = sums.run().tolist()
    for holder in (0, 1):
        sums.revealed[holder][4] = 0
    assert sums.collector.total(sums.revealed).tolist() == expected
    sums.revealed[2][4] = 0
    with pytest.raises(RunFailedError, match=r"^2 sites have a share of the secret of the site in row 4, fewer than"):
        sums.collector.total(sums.revealed)


def test_keys_that_cannot_be_used_are_told():
    first, second = (site.keys() for site in Sum(2).sites)
    assert usable(first, [second])
    assert not usable(first, [second, first])
    assert not usable(PublicKeys(first.encryption, second.masking), [second])
    assert not usable(PublicKeys(first.encryption, first.encryption), [])
    assert not usable(PublicKeys(first.encryption, np.zeros((1, 32), np.uint8)), [])


SMALL_ORDER = (
    0,
    1,
    PRIME - 1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)


@pytest.mark.parametrize("number", SMALL_ORDER)
def test_no_key_of_small_order_can_be_used(number):
    """Whatever is agreed with one is known to all."""
    first, second = (site.keys() for site in Sum(2).sites)
    assert not usable(PublicKeys(first.encryption, key_of(number)), [second])
    assert not usable(PublicKeys(key_of(number), first.masking), [second])
    roster = Roster(joined([first, PublicKeys(second.encryption, key_of(number))]))
    with pytest.raises(RunFailedError, match="the public key in row 1 is none that keys can be agreed with"):
        Sum(2).sites[0].masked(roster, [0, 1], np.zeros(1, np.int64))


@pytest.mark.parametrize("disguised", [lambda number: number + 2**255, lambda _: PRIME + 9], ids=["bit", "large"])
def test_a_key_in_disguise_is_refused_by_the_server_and_by_sites(disguised):
    """X25519 ignores the highest bit and reduces the number, so that the same key could be written in other octets."""
    first, second, third = (site.keys() for site in Sum(3).sites)
    copy = key_of(disguised(int.from_bytes(second.masking.tobytes(), "little")))
    for forged in (PublicKeys(third.encryption, copy), PublicKeys(copy, third.masking)):
        assert not usable(forged, [first, second])
        with pytest.raises(RunFailedError, match=r"the public key in row 2 is none that a site makes: expected a numb"):
            Roster(joined([first, second, forged]))
    assert usable(PublicKeys(third.encryption, key_of(9)), [first, second])  # as it is written properly


@pytest.mark.parametrize("row", [0, 1, 2])
def test_masks_against_two_sites_with_equivalent_keys_do_not_cancel(row):
    """An accomplice of the server publishes another key with which X25519 gives the same: with u and 1 / u one agrees
    on the same secrets, as the points differ by one of order 2. Wherever the accomplice is, what the server can open
    of another site's vector must not be all that hides it.
    """
    victim, other, accomplice = Sum(3).sites
    number = int.from_bytes(other.keys().masking.tobytes(), "little")
    copy = key_of(pow(number, -1, PRIME))
    assert agreed(victim, copy) == agreed(victim, other.keys().masking)
    each = [victim.keys(), other.keys()]
    each.insert(row, PublicKeys(accomplice.keys().encryption, copy))
    assert usable(each[row], each[:row] + each[row + 1 :])
    roster = Roster(joined(each))
    for site in (victim, other):
        upload = site.masked(roster, range(3), np.zeros(40_000, np.int64))
        roster.ring.add_mask(upload, site._self_mask(roster), -1)  # which the others' shares tell of a survivor
        assert chi_square(upload.view(np.uint8).reshape(-1, 8)).max() < 255 + 6 * sqrt(510)


def key_of(number):
    return np.frombuffer(number.to_bytes(32, "little"), np.uint8)[None]


def agreed(site, key):
    return site._masking.exchange(X25519PublicKey.from_public_bytes(key.tobytes()))


def test_a_site_reveals_one_secret_of_each_other():
    """Of a survivor the share of its own mask's seed, of one that dropped out the share of its masking key."""
    sums = Sum(5, threshold=3)
    sums.run(masked={4})
    alive, gone = sums.revealed[0][0], sums.revealed[0][4]
    masking = sums.sites[4]._split(sums.roster, sums.sites[4]._masking_bytes, b"coefficient of the masking key")
    own = sums.sites[0]._split(sums.roster, sums.sites[0]._self_mask(sums.roster), b"coefficient of the self mask")
    assert gone.tobytes() == masking[0]
    assert alive.tobytes() == own[0]
    sums.run(shares={4}, masked={3})
    assert not sums.revealed[0][4].any()  # of one that never shared anything


def test_a_site_refuses_what_cannot_be():
    sums = Sum(4)
    sums.run()
    roster, site = sums.roster, sums.sites[0]
    sealed = np.zeros((4, SEALED_BYTES), np.uint8)
    with pytest.raises(RunFailedError, match="not among those that shared their secrets"):
        site.masked(roster, [1, 2, 3], sums.vectors[0])
    with pytest.raises(RunFailedError, match=r"^2 of 4 sites shared their secrets, fewer than the threshold of 3"):
        site.masked(roster, [0, 1], sums.vectors[0])
    with pytest.raises(RunFailedError, match="not among those that sent masked sums"):
        site.unmasking(roster, range(4), [1, 2, 3], sealed)
    with pytest.raises(RunFailedError, match="that shared no secrets"):
        site.unmasking(roster, [0, 1, 2], [0, 1, 3], sealed)
    with pytest.raises(RunFailedError, match=r"rows \[0, 1, 1\], expected different ones of 4"):
        site.masked(roster, [0, 1, 1], sums.vectors[0])
    with pytest.raises(RunFailedError, match="does not hold the keys that this site sent"):
        Participant(bytes(32)).shares(roster)
    with pytest.raises(ValueError, match="the secret of a site has 32 B, found 0"):
        Participant(b"")


def test_keys_that_are_none_are_refused():
    each = [site.keys() for site in Sum(3).sites]
    with pytest.raises(RunFailedError, match="two of the public keys are the same"):
        Roster(joined([each[0], each[1], each[1]]))
    with pytest.raises(RunFailedError, match="at least 2 sites, 1 published keys"):
        Roster(each[0])
    with pytest.raises(RunFailedError, match=r"encryption keys are uint8 \[3, 31\], expected uint8 \[sites, 32\]"):
        keys = joined(each)
        Roster(PublicKeys(keys.encryption[:, :31], keys.masking))
    zero = np.zeros((1, 32), np.uint8)  # a point of small order: whatever is agreed with it is known to all
    one = zero.copy()
    one[0, 0] = 1
    roster = Roster(joined([*each[:2], PublicKeys(zero, one)]))
    with pytest.raises(RunFailedError, match="the public key in row 2 is none"):
        Sum(3).sites[0].shares(roster)
    with pytest.raises(RunFailedError, match="the public key in row 2 is none"):
        Sum(3).sites[0].masked(roster, [0, 1, 2], np.zeros(3, np.int64))


def test_everything_is_bound_to_what_the_sites_agreed_on():
    keys = joined([site.keys() for site in Sum(4).sites])
    others = joined([site.keys() for site in Sum(4, seed=1).sites])
    rosters = [Roster(keys), Roster(others), Roster(keys, 4), Roster(keys, 3, 32)]
    assert len({roster.context for roster in rosters}) == 4
    swapped = PublicKeys(keys.masking, keys.encryption)
    assert Roster(swapped).context != rosters[0].context


def test_the_server_refuses_a_second_and_an_unknown_upload():
    sums = Sum(4)
    sums.run(shares={3})
    for row in (0, 3, 7):
        with pytest.raises(RunFailedError, match=f"of row {row} is not wanted"):
            sums.collector.add(row, sums.uploads[0])


def test_a_wrong_share_of_a_masking_key_is_noticed():
    sums = Sum(4, threshold=3)
    sums.run(masked={3})
    forged = {row: shares.copy() for row, shares in sums.revealed.items()}
    forged[1][3, 5] ^= 1
    with pytest.raises(RunFailedError, match=r"row 3's masking key give another key|row 3 cannot be restored"):
        sums.collector.total(forged)


def test_sums_that_outgrow_the_ring_are_the_callers_to_avoid():
    """Each integer fits, the sum wraps around: bounds on the integers are what prevents it."""
    sums = Sum(3, length=1, bits=32)
    sums.vectors[:] = 2**30
    assert sums.run().tolist() == [3 * 2**30 - 2**32]

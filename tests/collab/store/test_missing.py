from __future__ import annotations

from collab.store.missing import missing_in_words


def test_without_whom_and_why():
    assert missing_in_words({}) == ""
    assert missing_in_words({"client-3": ["deadline"]}) == "without client-3 (deadline)"
    several = {"client-1": ["quorum", "deadline"], "client-2": ["quorum"]}
    assert missing_in_words(several) == "without client-1, client-2 (deadline, quorum)"


def test_of_very_many_only_the_first_are_named():
    many = {f"client-{number}": ["quorum"] for number in range(1234)}
    assert missing_in_words(many).endswith("client-7 and 1,226 more (quorum)")

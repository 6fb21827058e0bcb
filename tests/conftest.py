"""What holds for all tests: properties are tested without a limit on wall time, which here nothing may depend on."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("without a clock", deadline=None)
settings.load_profile("without a clock")

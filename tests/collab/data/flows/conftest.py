from __future__ import annotations

import pytest

from collab.data.flows.synthetic import write_traffic


@pytest.fixture(scope="session")
def traffic(tmp_path_factory):
    """Synthetic traffic in 5G-NIDD's form: one flow in fifty."""
    return write_traffic(tmp_path_factory.mktemp("traffic"), share=0.02)

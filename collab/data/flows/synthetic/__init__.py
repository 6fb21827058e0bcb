"""Synthetic traffic in the form of 5G-NIDD's `Combined.csv`: a stand-in for where the published files are not.

Every flow is made by what would have caused it (an application, or the way an attack works), on the path of its
station; all columns follow from its packets, as Argus counts them. Nothing here is drawn from, or fitted to, the
published rows: their numbers by station and class, and of missing values, are all that was taken over.
"""

from __future__ import annotations

from collab.data.flows.synthetic.writing import FILE_NAME, README_NAME, TITLE, numbers_of_flows, write_traffic

__all__ = ["FILE_NAME", "README_NAME", "TITLE", "numbers_of_flows", "write_traffic"]

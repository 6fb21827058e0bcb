"""What is known of synthetic traffic before it is written: whether it is there, and how many images it will make."""

from __future__ import annotations

from pathlib import Path

from collab.data.dataset import ImageSpec
from collab.data.decoded import cache_directories
from collab.data.flows.flow_format import BUILT_IN, published_format
from collab.data.flows.settings import SyntheticNiddSettings
from collab.data.flows.sources import grouped, shape_of, synthetic_folder
from collab.data.flows.synthetic import FILE_NAME, numbers_of_flows


def is_written(settings: SyntheticNiddSettings, data_dir: Path) -> bool:
    """Whether the file is where `collab.data.flows.sources.synthetic_file` would write it."""
    folder = synthetic_folder(settings)
    return any((directory / folder / FILE_NAME).is_file() for directory in cache_directories(data_dir))


def expected_shape(settings: SyntheticNiddSettings) -> tuple[ImageSpec, int, int]:
    """The images, and about how many train and judge.

    Raises `DataError` for a layout that has no room for a flow.
    """
    form = grouped(published_format(BUILT_IN), settings.classes)
    numbers = numbers_of_flows(settings.share, settings.stations, settings.traffic_seed)
    flows = form.flows_per_image(settings.side, settings.layout)
    if settings.windows == "label":
        images = sum(count // flows for kinds in numbers.values() for count in kinds.values())
    else:
        images = sum(sum(kinds.values()) // flows for kinds in numbers.values())
    return shape_of(form, settings, min(images, settings.most_images))

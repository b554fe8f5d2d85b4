"""Opens HDF5 of BigDataViewer and BigStitcher: one data set per time point, view setup and level.

The layout is described at https://imagej.net/plugins/bdv/: data sets tTTTTT/sSS/L/cells, and
sSS/resolutions with a row (x, y, z) of factors per level. Pixels are uint16, stored as int16.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .axes import axes_of
from .bdv_xml import SpimData, read_spimdata
from .hdf5_opened import Hdf5Image
from .hdf5_stored import dataset_at
from .hdf5_volumes import Volumes
from .image import UNKNOWN_VOXEL, ImageOptions
from .source import SourceError

if TYPE_CHECKING:
    import h5py

#: Setups that an error names.
_NAMED = 12


def is_bdv(file: h5py.File) -> bool:
    """Return whether an HDF5 file is one of BigDataViewer."""
    return bool(_numbers(file, r"s(\d{2,})")) and bool(_numbers(file, r"t(\d{5,})"))


def open_bdv(path: str, file: h5py.File, options: ImageOptions) -> Hdf5Image:
    """Open one image of a BigDataViewer file.

    Parameters
    ----------
    path
        Of the file; the XML of the same name beside it says what the view setups are.
    file
        The open file, which the image closes.
    options
        `dataset` is a setup, such as "s00"; `axes` replaces "TCZYX".

    Returns
    -------
    image
        Axes TCZYX, with its levels. Setups that differ in nothing but their channel are the
        channels of one image.
    """
    xml = read_spimdata(path, options)
    setups = _chosen(path, _numbers(file, r"s(\d{2,})"), xml, options.dataset)
    times = _times(path, file, setups, xml)
    levels = [
        Volumes(
            path,
            file,
            [[f"t{t:05d}/s{s:02d}/{level}/cells" for s in setups] for t in times],
            unsigned=True,
        )
        for level in range(_levels(path, file, setups))
    ]
    axes = axes_of(path, levels[0].shape, tuple("TCZYX"), options)
    as_it_is = axes == "TCZYX"
    if not as_it_is:
        levels = levels[:1]

    def datasets() -> Any:
        for level in levels:
            yield from level.datasets()

    known = [xml.setups[s] for s in setups] if xml and set(setups) <= set(xml.setups) else []
    notes: tuple[str, ...] = ()
    if len({setup.registration for setup in known}) > 1:
        notes = (f"its channels are registered in {xml and xml.path}, which is not applied",)
    return Hdf5Image(
        path,
        file,
        levels,
        axes,
        datasets,
        options=options,
        beside=[xml.path] if xml else [],
        channels=[setup.channel or setup.name for setup in known] if as_it_is else (),
        voxel_um=known[0].voxel_um if known else UNKNOWN_VOXEL,
        notes=notes,
    )


def _numbers(file: h5py.File, pattern: str) -> list[int]:
    return sorted(int(m[1]) for m in (re.fullmatch(pattern, name) for name in file) if m)


def _chosen(path: str, setups: list[int], xml: SpimData | None, dataset: str | None) -> list[int]:
    """Return the setups that are the channels of the image, in the order of the channels' ids."""
    if dataset is not None:
        chosen = [s for s in setups if dataset.strip("/") == f"s{s:02d}"]
        if not chosen:
            raise SourceError(
                f"{path}: images.dataset = {dataset!r}, but its view setups are "
                f"{_listed(setups, xml)}; name one of them"
            )
        return chosen
    if len(setups) == 1:
        return setups
    known = xml.setups if xml else {}
    attributes = {s: dict(known[s].attributes) for s in setups if s in known}
    channels = {s: found.pop("channel", None) for s, found in attributes.items()}
    if (
        len(attributes) < len(setups)
        or len({tuple(sorted(found.items())) for found in attributes.values()}) > 1
        or len(set(channels.values())) < len(setups)
    ):
        why = "" if xml else ", and no XML beside it says whether they are channels"
        raise SourceError(
            f"{path}: holds {len(setups)} view setups: {_listed(setups, xml)}{why}; choose one, as "
            f'in images.dataset = "s{setups[0]:02d}"'
        )

    def order(setup: int) -> tuple[int, str, int]:
        channel = channels[setup] or ""
        return int(channel) if channel.isdecimal() else 0, channel, setup

    return sorted(setups, key=order)


def _listed(setups: list[int], xml: SpimData | None) -> str:
    def described(setup: int) -> str:
        known = xml.setups.get(setup) if xml else None
        attributes = ", ".join(" ".join(pair) for pair in known.attributes) if known else ""
        return f"s{setup:02d} ({attributes})" if attributes else f"s{setup:02d}"

    more = f" and {len(setups) - _NAMED} more" if len(setups) > _NAMED else ""
    return ", ".join(map(described, setups[:_NAMED])) + more


def _levels(path: str, file: h5py.File, setups: list[int]) -> int:
    """Return the number of levels, which must be the same ones for all setups."""
    factors = [dataset_at(path, file, f"s{s:02d}/resolutions")[...].tolist() for s in setups]
    if factors.count(factors[0]) < len(factors) or not factors[0]:
        raise SourceError(
            f"{path}: the levels of its channels are not alike (x, y, z): {factors}; choose a view "
            f'setup, as in images.dataset = "s{setups[0]:02d}"'
        )
    return len(factors[0])


def _times(path: str, file: h5py.File, setups: list[int], xml: SpimData | None) -> list[int]:
    """Return the time points, all of which every setup must have."""
    times = sorted({*_numbers(file, r"t(\d{5,})"), *(xml.timepoints if xml else ())})
    for setup in setups:
        missing = [t for t in times if file.get(f"t{t:05d}/s{setup:02d}", getlink=True) is None]
        if missing:
            named = ", ".join(map(str, missing[:_NAMED]))
            more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
            raise SourceError(
                f"{path}: view setup s{setup:02d} has no pixels at time point {named}{more}; "
                "choose another setup with images.dataset, mend the file or leave it out"
            )
    return times

"""The recipe's table [patches]: how an image is cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from .problems import Problem, refuse, show
from .sections import Section
from .values import Limit, Mpp, Pad, Planes, Size, TablePath, VoxelUm

Switch = Annotated[bool, Field(strict=True)]
Area = Annotated[int, Field(strict=True, ge=0)]
#: The keys that only one way to find places has.
_KEYS_OF = {
    "random": ("count",),
    "objects": ("objects", "min_area_px", "max_area_px"),
    "points": ("points", "points_unit", "points_missing"),
}


class PatchesRecipe(Section):
    """How an image is cut; all sizes are (y, x) or (z, y, x) in pixels of the patch."""

    size: Size = Field(description="[y, x] in pixels, such as [256, 256]")
    at: Literal["grid", "random", "objects", "points"] = Field(
        "grid", description='"grid", "random", "objects" or "points"'
    )
    stride: Size
    edge: Literal["drop", "pad", "shift"] = Field("drop", description='"drop", "pad" or "shift"')
    pad: Pad = "reflect"
    margin_px: Annotated[int, Field(strict=True, ge=0)] = Field(
        0, description="a whole number of pixels, such as 32"
    )
    allow_gaps: Switch = Field(False, description="true or false")
    z: Planes = "each"
    t: Planes = "each"
    focus: str | None = Field(None, description='the name of a channel, or "each"')
    level: Annotated[int, Field(strict=True, ge=0)] = Field(
        0, description="a whole number of at least 0"
    )
    mpp: Mpp | None = None
    voxel_um: VoxelUm | None = None
    allow_mixed_mpp: Switch = Field(False, description="true or false")
    count: Limit | None = None
    objects: str | None = Field(
        None, description='the name of a table [labels.NAME], such as "nuclei"'
    )
    min_area_px: Area = Field(0, description="a whole number of pixels, such as 20")
    max_area_px: Area | None = Field(None, description="a whole number of pixels, such as 5000")
    points: TablePath | None = None
    points_unit: Literal["px", "um"] = Field("px", description='"px" or "um"')
    points_missing: Literal["raise", "skip"] = Field("raise", description='"raise" or "skip"')
    max_per_image: Limit | None = None
    keep_background: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="a share from 0 to 1, such as 0.05"
    )

    @property
    def is_3d(self) -> bool:
        """Whether a patch has an axis z."""
        return self.z == "stack"

    @property
    def size_zyx(self) -> tuple[int, int, int]:
        """Size along z, y and x; 1 along z where a patch has no such axis."""
        z, y, x = (1, *self.size)[-3:]
        return z, y, x

    @property
    def stride_zyx(self) -> tuple[int, int, int]:
        """Stride along z, y and x; 1 along z where a patch has no such axis."""
        z, y, x = (1, *self.stride)[-3:]
        return z, y, x

    @property
    def one_z(self) -> bool:
        """Whether one plane of each image is cut, at each time."""
        return self.z == "focus" or isinstance(self.z, int)

    @property
    def project_z(self) -> str:
        """How planes along z are made one: "max", "mean", or not at all."""
        return str(self.z) if self.z in ("max", "mean") else ""

    @property
    def project_t(self) -> str:
        """How times are made one: "max", "mean", or not at all."""
        return str(self.t) if self.t in ("max", "mean") else ""

    @model_validator(mode="before")
    @classmethod
    def _default_stride(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "stride" not in data and "size" in data:
            return {**data, "stride": data["size"]}
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = [*self._check_planes(), *self._check_resolution(), *self._check_places()]
        if len(self.size) != len(self.stride):
            text = f"{show(self.stride)} has not as many numbers as size = {show(self.size)}"
            refuse([Problem("stride", f"{text}; write one for each")])
        gap = [max(0, step - size) for step, size in zip(self.stride, self.size, strict=True)]
        if any(gap) and not self.allow_gaps:
            most = [min(step, size) for step, size in zip(self.stride, self.size, strict=True)]
            text = (
                f"{show(self.stride)} leaves gaps of {show(gap)} px between patches of "
                f"{show(self.size)}; write a stride of at most {show(most)}, "
                "or patches.allow_gaps = true"
            )
            problems.append(Problem("stride", text))
        if self.pad != "reflect" and self.edge != "pad" and not self.margin_px:
            text = f'found {show(self.pad)} with edge = "{self.edge}", which pads nothing; '
            problems.append(Problem("pad", text + 'write edge = "pad" or leave pad out'))
        if self.margin_px > max(self.size[-2:]):
            text = (
                f"found {self.margin_px}, and each side of {show(self.size)} px would get that "
                f"much more; write at most {max(self.size[-2:])}, or a larger size"
            )
            problems.append(Problem("margin_px", text))
        refuse(problems)
        return self

    def _check_planes(self) -> list[Problem]:
        problems = []
        words = {"z": ("each", "max", "mean", "focus", "stack"), "t": ("each", "max", "mean")}
        for key, allowed in words.items():
            value = getattr(self, key)
            if value not in allowed if isinstance(value, str) else value < 0:
                listed = ", ".join(f'"{word}"' for word in allowed)
                text = f"found {show(value)}; write {listed}, or the number of a plane from 0"
                problems.append(Problem(key, text))
        if self.is_3d != (len(self.size) == 3):
            text = f"found {show(self.size)} with z = {show(self.z)}; write "
            text += "[z, y, x]" if self.is_3d else '[y, x], or z = "stack" for an axis z'
            problems.append(Problem("size", text))
        if self.project_z and self.project_t and self.project_z != self.project_t:
            text = f"found {show(self.t)} with z = {show(self.z)}; project both alike"
            problems.append(Problem("t", text))
        if self.z == "focus" and self.project_t:
            text = f'found {show(self.t)} with z = "focus", which is another plane at each time'
            problems.append(Problem("t", f'{text}; write "each", or the number of a time'))
        if self.focus is not None and self.z != "focus":
            problems.append(Problem("focus", f'is for z = "focus", and z is {show(self.z)}'))
        return problems

    def _check_resolution(self) -> list[Problem]:
        given = [
            name
            for name, is_given in (
                ("level", self.level > 0),
                ("mpp", self.mpp is not None),
                ("voxel_um", self.voxel_um is not None),
            )
            if is_given
        ]
        if len(given) > 1:
            text = f"{' and '.join(given)} each say the resolution; write one of them"
            return [Problem(given[1], text)]
        if self.voxel_um is not None and not self.is_3d:
            text = 'is for patches with an axis z (z = "stack"); write patches.mpp'
            return [Problem("voxel_um", text)]
        return []

    def _check_places(self) -> list[Problem]:
        problems = []
        for at, keys in _KEYS_OF.items():
            fields = type(self).model_fields
            given = [key for key in keys if getattr(self, key) != fields[key].default]
            if self.at != at:
                text = f'is for at = "{at}", and at is "{self.at}"; leave it out'
                problems += [Problem(key, text) for key in given]
            elif keys[0] not in given:
                wanted = "such as " + {"random": "100", "objects": '"nuclei"'}.get(
                    at, '"points.csv"'
                )
                problems.append(
                    Problem(keys[0], f'is missing with at = "{at}"; write it, {wanted}')
                )
        if self.at != "grid" and self.stride != self.size:
            text = f'is for at = "grid", and at is "{self.at}"; leave it out'
            problems.append(Problem("stride", text))
        if self.max_area_px is not None and self.max_area_px < self.min_area_px:
            text = f"found {self.max_area_px}, which is below min_area_px = {self.min_area_px}"
            problems.append(Problem("max_area_px", f"{text}; write at least that"))
        return problems

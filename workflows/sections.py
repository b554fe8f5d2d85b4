"""The tables of a recipe, each with what can be checked inside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .problems import Problem, refuse, show
from .values import (
    Axes,
    ByteCount,
    Channels,
    Dtype,
    Fractions,
    Pad,
    Pair,
    Pattern,
    Texts,
)

#: What `images/` has of its own, so that no named group can be a column of that name.
IMAGE_COLUMNS = (
    *("id", "path", "files", "reason", "checksum", "status", "shape", "voxel_um"),
    *("count", "mean", "deviations", "min", "max"),
)
#: Named groups of a pattern that say which plane of an image a file is, not which image.
PLANE_GROUPS = ("channel", "z", "t")
_LEVELS = {"lz4": 5, "zstd": 3, "none": 0}


class Section(BaseModel):
    """A table of a recipe: frozen, and with no keys but its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ImagesRecipe(Section):
    """Which files there are, and which of them make an image together."""

    paths: Texts = Field(description='globs, such as ["plate1/**/*.tif"]')
    pattern: Pattern | None = None
    exclude: Texts = ()
    group: Texts = ()
    on_error: Literal["raise", "skip"] = Field("raise", description='"raise" or "skip"')
    missing_channel: Literal["raise", "skip"] = Field("raise", description='"raise" or "skip"')
    channels: Channels = Field({}, description='a table such as { 1 = "DAPI", 2 = "GFP" }')
    dtype: Dtype | None = None
    axes: Axes | None = None
    identity: Literal["mtime", "content"] = Field("mtime", description='"mtime" or "content"')

    @property
    def named_groups(self) -> tuple[str, ...]:
        """The pattern's named groups, in its order; none without a pattern."""
        return tuple(re.compile(self.pattern).groupindex) if self.pattern else ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The named groups that describe an image: all but channel, z and t."""
        return tuple(name for name in self.named_groups if name not in PLANE_GROUPS)

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
        if not self.paths:
            problems.append(
                Problem("paths", 'is empty; write at least one, as in ["plate1/*.tif"]')
            )
        for name in self.group:
            if name == "split":
                text = '"split" is the other column of the CSV of groups; call the group otherwise'
                problems.append(Problem("group", text))
            elif fault := column_fault(self, name):
                problems.append(Problem("group", fault))
        for name in set(self.columns) & set(IMAGE_COLUMNS):
            text = (
                f'the group "{name}" has the name of another column of images/; call it otherwise'
            )
            problems.append(Problem("pattern", text))
        if len(set(self.group)) < len(self.group):
            problems.append(Problem("group", f"found {show(self.group)}; write each name once"))
        # TOML puts a key that follows the table [images.channels] into it.
        for key in set(self.channels) & set(ImagesRecipe.model_fields):
            text = f"is a key of [images], not a channel; move it above [images.channels]: {key} = "
            problems.append(Problem(f"channels.{key}", text + show(self.channels[key])))
        if self.missing_channel == "skip" and "channel" not in self.named_groups:
            text = '"skip" needs a pattern that has (?P<channel>...); leave missing_channel out'
            problems.append(Problem("missing_channel", text))
        refuse(problems)
        return self


class PatchesRecipe(Section):
    """How an image is cut; all sizes are (y, x) in pixels."""

    size: Pair = Field(description="[y, x] in pixels, such as [256, 256]")
    stride: Pair
    edge: Literal["drop", "pad", "shift"] = Field("drop", description='"drop", "pad" or "shift"')
    pad: Pad = "reflect"
    margin_px: Annotated[int, Field(strict=True, ge=0)] = Field(
        0, description="a whole number of pixels, such as 32"
    )
    allow_gaps: Annotated[bool, Field(strict=True)] = Field(False, description="true or false")

    @model_validator(mode="before")
    @classmethod
    def _default_stride(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "stride" not in data and "size" in data:
            return {**data, "stride": data["size"]}
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
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
        if self.margin_px > max(self.size):
            text = (
                f"found {self.margin_px}, and each side of {show(self.size)} px would get that "
                f"much more; write at most {max(self.size)}, or a larger size"
            )
            problems.append(Problem("margin_px", text))
        refuse(problems)
        return self


class SplitRecipe(Section):
    """Which images are for training, validation and test; by group, never by patch."""

    fractions: Fractions = Field({}, description="a table such as { train = 0.8, val = 0.2 }")
    source: str | None = Field(
        None, alias="from", description="a named group of images.pattern, or the path of a CSV"
    )
    stratify: str | None = Field(None, description="a named group of images.pattern")
    folds: Annotated[int, Field(strict=True, ge=2, le=100)] | None = Field(
        None, description="a whole number from 2 to 100"
    )
    blocks_px: Pair | None = None

    @property
    def has_rule(self) -> bool:
        """Whether groups can be assigned without being listed: by fractions or folds."""
        return bool(self.fractions) or self.folds is not None

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
        rule = "fractions = { train = 0.8, val = 0.2 } or folds = 5"
        if self.fractions and self.folds is not None:
            text = f"{self.folds} folds are equal shares; leave out fractions or folds"
            problems.append(Problem("folds", text))
        if not self.has_rule:
            for name in ("stratify", "blocks_px"):
                if getattr(self, name) is not None:
                    problems.append(Problem(name, f"says no shares; write {rule} too"))
            if self.source is None and not problems:
                problems.append(Problem("fractions", f"is missing; write {rule}, or from = ..."))
        if self.blocks_px is not None and self.source is not None:
            text = "whole images get a split by split.from, their blocks by this; leave one out"
            problems.append(Problem("blocks_px", text))
        refuse(problems)
        return self


class StoreRecipe(Section):
    """How the store is written."""

    codec: Literal["lz4", "zstd", "none"] = Field("lz4", description='"lz4", "zstd" or "none"')
    level: Annotated[int, Field(strict=True, ge=0, le=9)] = Field(
        description="a whole number from 0 to 9"
    )
    shard_bytes: ByteCount = 64_000_000
    dtype: Dtype | None = None

    @model_validator(mode="before")
    @classmethod
    def _default_level(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "level" not in data:
            codec = data.get("codec", "lz4")
            return {**data, "level": _LEVELS.get(codec, 0) if isinstance(codec, str) else 0}
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.codec == "none" and self.level:
            text = f'found {self.level} with codec = "none", which has no levels; leave it out'
            refuse([Problem("level", text)])
        return self


def column_fault(images: ImagesRecipe, name: str) -> str | None:
    """Return why a name is not a column of the images, or None."""
    if name in PLANE_GROUPS:
        return f'"{name}" tells planes of one image apart, so it cannot tell images apart'
    if name in images.columns:
        return None
    if images.pattern is None:
        return f'"{name}" needs images.pattern with a named group (?P<{name}>...)'
    have = ", ".join(images.columns) or "none that describe images"
    return f'"{name}" is not a named group of images.pattern, which has: {have}'

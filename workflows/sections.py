"""The tables of a recipe, each with what can be checked inside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..tasks.image import ImageOptions
from .problems import Problem, refuse, show
from .values import (
    Axes,
    ByteCount,
    Channels,
    Dtype,
    Fractions,
    Keys,
    Limit,
    Pair,
    Pattern,
    Reader,
    Storage,
    TablePath,
    Texts,
    VoxelUm,
)

#: What `images/` has of its own, so that no other column can have that name.
IMAGE_COLUMNS = (
    *("id", "path", "files", "reason", "checksum", "status"),
    *("shape", "cut_shape", "cut_scale", "voxel_um"),
    *("count", "mean", "deviations", "min", "max"),
)
#: Named groups of a pattern that say which plane of an image a file is, not which image.
PLANE_GROUPS = ("channel", "z", "t")
#: The default of options among which keys may be: no store, plan or log shows them.
SECRET_OPTIONS: Any = Field((), exclude=True, repr=False)
_LEVELS = {"lz4": 5, "zstd": 3, "none": 0}


class Section(BaseModel):
    """A table of a recipe: frozen, and with no keys but its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TableRecipe(Section):
    """What the rows of a parquet table are: flattened images."""

    size: Pair = Field(description="[y, x] of an image in pixels, such as [137, 236]")
    id: str = Field("image_id", description='the column with the names, such as "image_id"')
    pixels: str | None = Field(None, description="the column with a list of pixels per row")


class ImagesRecipe(Section):
    """Which files there are, and which of them make an image together."""

    paths: Texts = Field((), description='globs, such as ["plate1/**/*.tif"]')
    manifest: TablePath | None = None
    pattern: Pattern | None = None
    exclude: Texts = ()
    group: Texts = ()
    on_error: Literal["raise", "skip"] = Field("raise", description='"raise" or "skip"')
    missing_channel: Literal["raise", "skip"] = Field("raise", description='"raise" or "skip"')
    channels: Channels = Field({}, description='a table such as { 1 = "DAPI", 2 = "GFP" }')
    dtype: Dtype | None = None
    axes: Axes | None = None
    identity: Literal["mtime", "content"] = Field("mtime", description='"mtime" or "content"')
    reader: Reader | None = None
    dataset: str | None = Field(None, description="what inside a file is meant, as text")
    palette: Literal["index", "colour"] = Field("index", description='"index" or "colour"')
    voxel_um: VoxelUm | None = None
    saturation: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = Field(
        None, description="the value at which the camera is saturated, such as 4095"
    )
    table: TableRecipe | None = Field(None, description="a table [images.table] with size")
    storage: Storage = SECRET_OPTIONS
    max_pixels: Limit = 25_000_000_000
    max_segment_bytes: ByteCount = 1 << 30
    max_seconds: Limit = 3600

    @property
    def options(self) -> ImageOptions:
        """How files are opened, as workers need it."""
        table = self.table
        return ImageOptions(
            axes=self.axes,
            reader=self.reader,
            dataset=self.dataset,
            palette=self.palette,
            table_size=table.size if table else None,
            table_id=table.id if table else "image_id",
            table_pixels=table.pixels if table else None,
            storage=self.storage,
            max_pixels=self.max_pixels,
            max_segment_bytes=self.max_segment_bytes,
            max_seconds=self.max_seconds,
        )

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
        if self.paths and self.manifest is not None:
            text = "lists the files, and so does images.paths; leave one out"
            problems.append(Problem("manifest", text))
        if not self.paths and self.manifest is None:
            text = (
                'is empty; write at least one, as in ["plate1/*.tif"]'
                if "paths" in self.model_fields_set
                else 'is missing; write globs, such as ["plate1/**/*.tif"], or images.manifest = '
                '"manifest.csv"'
            )
            problems.append(Problem("paths", text))
        for name in self.group:
            if name == "split":
                text = '"split" is the other column of the CSV of groups; call the group otherwise'
                problems.append(Problem("group", text))
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
        has_channel = self.manifest is not None or "channel" in self.named_groups
        if self.missing_channel == "skip" and not has_channel:
            text = '"skip" needs a pattern that has (?P<channel>...); leave missing_channel out'
            problems.append(Problem("missing_channel", text))
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


class MetadataRecipe(Section):
    """A table that is joined to the images: a plate map, or labels."""

    table: TablePath = Field(description='the path of a CSV or parquet file, such as "map.csv"')
    on: Keys = Field(description='columns that both have, such as ["plate", "well"]')
    missing: Literal["raise", "empty"] = Field("raise", description='"raise" or "empty"')
    wells: str | None = Field(None, description='a name of metadata.on, such as "well"')

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.wells is not None and self.wells not in self.on.values():
            have = ", ".join(self.on.values())
            refuse([Problem("wells", f'"{self.wells}" is not in metadata.on, which has: {have}')])
        return self


class StoreRecipe(Section):
    """How the store is written."""

    codec: Literal["lz4", "zstd", "none"] = Field("lz4", description='"lz4", "zstd" or "none"')
    level: Annotated[int, Field(strict=True, ge=0, le=9)] = Field(
        description="a whole number from 0 to 9"
    )
    shard_bytes: ByteCount = 64_000_000
    dtype: Dtype | None = None
    storage: Storage = SECRET_OPTIONS

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

"""Files that annotate images, whatever they hold: the keys of a recipe, and what they become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from ..tasks.annotation import Annotation
from ..tasks.annotation_file import BlankAnnotation, FileAnnotation
from ..tasks.annotation_values import ColourValues, Values
from ..tasks.image import ImageOptions
from ..tasks.source import FileInfo, SourceError
from .annotation_fit import fit_to
from .annotation_paths import (
    AnnotationPath,
    are_there,
    column_paths,
    place_problems,
    read_template,
    template_paths,
)
from .annotation_recipe import AnnotationBinding, AnnotationRecipe
from .file_survey import look_at
from .problems import Problem, refuse, show
from .values import Axes, Mpp, Reader

if TYPE_CHECKING:
    from .images import SurveyedImage

#: A file and what is in it, or why it cannot be read; or one sentence that says that there is none.
FoundFile = tuple[AnnotationPath, FileInfo | str] | str


def read_factor(value: Any) -> float:
    """Read how many pixels of an image one of the file is wide."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        raise ValueError("write how many pixels of the image one of the file is wide, such as 4")
    return float(value)


def read_channel(value: Any) -> int | str:
    """Read which channel of a file is meant: its name, or its number from 0."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | str)
        or (isinstance(value, int) and value < 0)
    ):
        raise ValueError("write the name of a channel of the file, or its number from 0")
    return value


class FilesRecipe(AnnotationRecipe):
    """The keys of files, whatever they hold."""

    source: Literal["files"] = Field("files", alias="from", description='"files"')
    path: Annotated[str, BeforeValidator(read_template)] | None = None
    column: str | None = Field(None, description="the name of a column with paths")
    axes: Axes | None = None
    dataset: str | None = Field(None, description="what inside a file is meant, as text")
    reader: Reader | None = None
    channel: Annotated[int | str, BeforeValidator(read_channel)] | None = None
    factor: Annotated[float, BeforeValidator(read_factor)] | None = None
    mpp: Mpp | None = None

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        problems = place_problems(self.path, self.column, "{folder}/{stem}_mask.png", "mask")
        if self.factor is not None and self.mpp is not None:
            problems.append(Problem("mpp", "says the resolution, as factor does; leave one out"))
        refuse(problems)
        return self

    def paths(self, binding: AnnotationBinding) -> Sequence[AnnotationPath | None]:
        """Return the file that each image should have; None where it names none."""
        if self.path is not None:
            return template_paths(binding, self.path)
        return column_paths(binding, str(self.column))

    def options(self, binding: AnnotationBinding, palette: str = "index") -> ImageOptions:
        """Return how the files are opened: as images are, but for what the table says."""
        return replace(
            binding.recipe.images.options,
            axes=self.axes,
            reader=self.reader,
            dataset=self.dataset,
            palette=palette,
            table_size=None,
            table_pixels=None,
        )

    def factors(self, image: SurveyedImage, key: str) -> tuple[float, float]:
        """Return pixels of the image, (y, x), in one of the file, both at level 0."""
        if self.mpp is None:
            return (self.factor or 1.0,) * 2
        _, y, x = image.voxel_um
        if not (y > 0 and x > 0):
            raise SourceError(
                f"its image does not say how large a pixel is, which {key}.mpp needs; write "
                f"{key}.factor, or images.voxel_um"
            )
        return self.mpp / y, self.mpp / x

    def one_channel(self, info: FileInfo) -> int:
        """Return the channel that is read of a file of one number per pixel."""
        if self.channel is None:
            if info.shape[1] == 1:
                return 0
            wanted = (
                "one: name it with channel = 0, or, where its classes are colours, write a table "
            )
            wanted += "colours"
        elif self.channel in info.channels:
            return info.channels.index(str(self.channel))
        elif isinstance(self.channel, int) and self.channel < info.shape[1]:
            return self.channel
        else:
            wanted = f"{show(self.channel)} among them"
        names = ", ".join(filter(None, info.channels))
        named = f" ({names})" if names else ""
        raise SourceError(f"has {info.shape[1]} channels{named}, and should have {wanted}")


def find_files(
    recipe: FilesRecipe, binding: AnnotationBinding, options: ImageOptions
) -> list[FoundFile]:
    """Return for each image its file and what is in it; a sentence where it has no file."""
    paths = recipe.paths(binding)
    named = list(dict.fromkeys(own for own in paths if own is not None))
    there = dict(zip(named, are_there(named, options), strict=True))
    content = binding.recipe.images.identity == "content"
    present = [own.path for own in named if there[own]]
    infos = look_at(present, options, content, binding.connect)
    found: list[FoundFile] = []
    for own in paths:
        if own is not None and there[own]:
            found.append((own, infos[own.path]))
        else:
            found.append(
                f"names no file in its column {recipe.column}"
                if own is None
                else f"has no file {own.relative}"
            )
    return found


def bind_files(
    recipe: FilesRecipe,
    binding: AnnotationBinding,
    found: Sequence[FoundFile],
    options: ImageOptions,
    values: Values,
    blank: int | None,
    remedy: str,
) -> list[Annotation | str]:
    """Return what annotates each image.

    Parameters
    ----------
    found
        As `find_files` returns it.
    options
        How the files are opened.
    values
        What their numbers stand for.
    blank
        What an image without a file has everywhere; None where that is an error.
    remedy
        What to do about that.
    """
    bound: list[Annotation | str] = []
    for image, own in zip(binding.images, found, strict=True):
        if isinstance(own, str):
            missing = f"{own} ({binding.key}); {remedy}"
            bound.append(missing if blank is None else BlankAnnotation(blank))
            continue
        (path, relative), info = own
        if isinstance(info, str):
            bound.append(info.replace(path, relative))
            continue
        try:
            channels = _channels(recipe, info, values)
            factors = recipe.factors(image, binding.key)
            patches = binding.recipe.patches
            fit = fit_to(image, path, info, channels, factors, patches, binding.key)
        except SourceError as error:
            bound.append(f"{relative}: {error}")
            continue
        bound.append(FileAnnotation(fit.source, options, relative, fit.scale, values))
    return bound


def _channels(recipe: FilesRecipe, info: FileInfo, values: Values) -> list[int]:
    if not isinstance(values, ColourValues):
        return [recipe.one_channel(info)]
    if info.shape[1] not in (3, 4) or info.dtype != "uint8":
        raise SourceError(
            f"has {info.shape[1]} channels of {info.dtype}, and colours are three of uint8; give "
            "such a file, or leave colours out"
        )
    return [0, 1, 2]

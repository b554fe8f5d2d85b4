"""The recipe: what the user asked for, validated before any image is opened.

Every key, its default and its meaning stand in this folder's README.md, STEPS.md and MASKS.md; a
test holds these and the code together.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from .annotations_section import Labels, Masks
from .classes_section import ClassTables
from .column_faults import column_fault, split_problems
from .dtypes import is_widening
from .errors import RecipeError
from .foreground_section import FiltersRecipe, ForegroundRecipe
from .patches_section import PatchesRecipe
from .problems import Problem, describe, refuse, translate
from .sections import (
    ImagesRecipe,
    MetadataRecipe,
    Section,
    SplitRecipe,
    StoreRecipe,
)
from .steps_section import Steps

__all__ = [
    "ImagesRecipe",
    "MetadataRecipe",
    "PatchesRecipe",
    "Recipe",
    "RecipeError",
    "SplitRecipe",
    "StoreRecipe",
]

_ESCAPE_HINT = "; write regular expressions in single quotes: pattern = '(?P<well>[A-P]\\d\\d)'"


class Recipe(Section):
    """What the user asked for.

    Make one with `Recipe.load` or `Recipe.from_dict`; both raise one `RecipeError` that lists
    every problem.

    Examples
    --------
    >>> recipe = Recipe.from_dict({"images": {"paths": "*.tif"}, "patches": {"size": 256}})
    >>> recipe.patches.stride
    (256, 256)
    """

    seed: Annotated[int, Field(strict=True, ge=0)] = Field(
        0, description="a whole number of at least 0"
    )
    images: ImagesRecipe = Field(description='a table [images] with paths = ["plate1/*.tif"]')
    patches: PatchesRecipe = Field(description="a table [patches] with size = [256, 256]")
    metadata: MetadataRecipe | None = Field(None, description="a table [metadata]")
    foreground: ForegroundRecipe | None = Field(None, description="a table [foreground]")
    filters: FiltersRecipe | None = Field(None, description="a table [filters]")
    masks: Masks = Field({}, description="tables [masks.NAME]")
    labels: Labels = Field({}, description="tables [labels.NAME]")
    classes: ClassTables = Field({}, description="tables [classes.NAME]")
    steps: Steps = ()
    split: SplitRecipe | None = Field(None, description="a table [split]")
    store: StoreRecipe = Field(
        default_factory=lambda: StoreRecipe.model_validate({}), description="a table [store]"
    )
    _folder: Path = PrivateAttr(default_factory=Path.cwd)

    @property
    def folder(self) -> Path:
        """The absolute folder of the recipe, to which its paths are relative."""
        return self._folder

    def resolve(self, path: str) -> Path:
        """Return a path of the recipe as an absolute one."""
        return self._folder / Path(path).expanduser()

    @property
    def splits_file(self) -> Path | None:
        """The CSV that `split.from` names, or None where it names a column or is absent."""
        source = self.split.source if self.split else None
        if source is None or source in self.images.columns or not source.lower().endswith(".csv"):
            return None
        return self.resolve(source)

    def canonical(self) -> dict[str, Any]:
        """Return the recipe as JSON values with every default, without its folder and `storage`.

        Tables whose order matters, `images.channels` and `split.fractions`, become lists of
        pairs, so that JSON with sorted keys keeps their order. `from_dict` takes them back.
        """
        content = self.model_dump(mode="json", by_alias=True)
        if self.metadata is not None:
            content["metadata"]["on"] = [list(pair) for pair in self.metadata.on.items()]
        content["images"]["channels"] = [list(pair) for pair in self.images.channels.items()]
        if self.split is not None:
            content["split"]["fractions"] = [list(pair) for pair in self.split.fractions.items()]
        return content

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a recipe from a TOML file.

        Raises
        ------
        RecipeError
            When the file is absent, is not TOML, or says what no recipe says.
        """
        path = Path(path).absolute()
        try:
            data = tomllib.loads(path.read_text("utf-8"))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise RecipeError(f"no recipe at {path}; write the path of a TOML file") from None
        except UnicodeDecodeError as error:
            raise RecipeError(f"{path} is not UTF-8 text: {error}; save it as UTF-8") from None
        except tomllib.TOMLDecodeError as error:
            hint = _ESCAPE_HINT if "\\" in str(error) else ""
            raise RecipeError(f"{path} is not valid TOML: {error}{hint}") from None
        return cls._build(data, path.parent, str(path))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], folder: str | Path = ".") -> Self:
        """Make a recipe from the tables of a TOML file, or from `canonical`.

        Parameters
        ----------
        data
            Tables as nested mappings.
        folder
            To which the paths are relative.

        Raises
        ------
        RecipeError
            When it says what no recipe says.
        """
        return cls._build(data, Path(folder).absolute(), "the recipe")

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Do as `from_dict` does, with paths relative to the working directory."""
        return obj if isinstance(obj, cls) and not options else cls.from_dict(obj)

    @classmethod
    def _build(cls, data: Any, folder: Path, name: str) -> Self:
        try:
            recipe = super().model_validate(data)
        except ValidationError as error:
            raise RecipeError(describe(translate(error, cls, data), name)) from None
        recipe._folder = folder
        return recipe

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
        split, images = self.split, self.images
        # What a manifest or a table brings is known once they were read: `image_columns`.
        if images.manifest is None and self.metadata is None:
            problems += [
                Problem("images.group", fault)
                for name in images.group
                if name != "split" and (fault := column_fault(images, name))
            ]
            problems += split_problems(images, split)
        have, want = images.dtype, self.store.dtype
        # After steps, pixels are others anyhow.
        if have and want and not self.steps and not is_widening(have, want):
            text = f"{want} cannot hold every value of images.dtype = {have}; write {have} or wider"
            problems.append(Problem("store.dtype", text))
        refuse(problems)
        return self

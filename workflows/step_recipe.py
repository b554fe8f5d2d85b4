"""What every table [[steps]] of a recipe has, and how it becomes what workers do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from distributed import Client
from numpy.typing import NDArray

from ..tasks.step import OnChannels, Step
from .errors import RecipeError
from .sections import Section
from .values import Texts

if TYPE_CHECKING:
    from ..tasks.patches import PatchSpec
    from .images import SurveyedImage
    from .recipe import Recipe
    from .survey import Connect


def _no_cluster() -> AbstractContextManager[Client]:
    raise AssertionError("a step looks at pixels before the run has begun")


@dataclass(frozen=True, eq=False)
class Binding:
    """What a step may ask about the run when it is bound.

    While a run is planned, all from `split_names` on is not known yet.

    Attributes
    ----------
    key
        Of the step in the recipe, such as "steps[2]", for errors.
    recipe
        All of it, settled.
    images
        In the order of `images/`; `source.steps` of each holds the steps before this one.
    patch
        What every patch is; its `dtype` is the store's, to which pixels are rounded at the end.
    before_geometry
        Whether the step works on the pixels of the level, before they are projected and rescaled.
    scales_later
        Whether a later step maps pixels to a range, or to a mean and a deviation.
    split_names
        Of the store, in order.
    image_splits
        uint8, shape (images,): the split of each image; `planning.NO_SPLIT` where blocks of it
        are in several.
    blocks
        The split of each block of each image, where splits are spatial.
    connect
        Opens the cluster.
    say
        Takes a sentence for the user.
    pictures
        Takes a name and the bytes of a PNG that shall be kept beside the store.
    """

    key: str
    recipe: Recipe
    images: tuple[SurveyedImage, ...]
    patch: PatchSpec
    before_geometry: bool
    scales_later: bool
    split_names: tuple[str, ...] = ()
    image_splits: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    blocks: tuple[NDArray[np.int8], ...] | None = None
    connect: Connect = _no_cluster
    say: Callable[[str], object] = lambda sentence: None
    pictures: Callable[[str, bytes], object] = lambda name, data: None

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of the images' channels."""
        return self.images[0].channels


@dataclass(frozen=True, eq=False)
class Bound:
    """What became of a step.

    Attributes
    ----------
    steps
        For each image what its pixels go through; images that share it have the same object.
    record
        What was decided, as JSON values, for the store's attributes: statistics, from how many
        images and regions, the sampling error, the pedestal.
    """

    steps: Sequence[Step]
    record: dict[str, Any]


class StepRecipe(Section):
    """One table [[steps]]: a name, options, and the channels that it is for."""

    name: str
    channels: Texts = ()

    #: Whether it maps pixels to a range, or to a mean and a deviation.
    scales: ClassVar[bool] = False
    #: Whether it belongs before projection and rescaling, unless the recipe says otherwise.
    is_of_camera: ClassVar[bool] = False

    def bind(self, binding: Binding) -> Bound:
        """Return what is done to each image.

        Raises
        ------
        PatchmillError
            Where it does not fit the images.
        """
        step = self.on_channels(self.step(binding), binding)
        return Bound([step] * len(binding.images), {})

    def step(self, binding: Binding) -> Step:
        """Return the step of all images, for its own channels; others override `bind`."""
        raise NotImplementedError

    def halo_px(self, binding: Binding) -> int:
        """Return how many pixels around each in y and x decide its value."""
        is_local = type(self).step is not StepRecipe.step
        return self.step(binding).halo_px if is_local else 0

    def held_bytes(self, binding: Binding) -> int:
        """Return what a process keeps for it, beside the pixels that go through it."""
        return 0

    @property
    def is_of_patch(self) -> bool:
        """Whether it asks which pixels are the patch's own, as `Step` says."""
        return self.output_size is not None

    def bytes_measured(self, binding: Binding) -> int:
        """Return the bytes of pixels that `bind` reads, where they are not known already."""
        return 0

    @property
    def output_size(self) -> tuple[int, int] | None:
        """(y, x) of what it makes of a window, where that is another size."""
        return None

    def numbers(self, binding: Binding) -> tuple[int, ...]:
        """Return the numbers of the channels that the step is for.

        Raises
        ------
        RecipeError
            Where the images have no such channel.
        """
        names = binding.channels
        for name in self.channels:
            if name not in names:
                raise RecipeError(
                    f'{binding.key}.channels: found "{name}"; the channels are {", ".join(names)}'
                )
        return tuple(names.index(name) for name in self.channels or names)

    def on_channels(self, step: Step, binding: Binding) -> Step:
        """Return a step that leaves the channels alone which it is not for."""
        numbers = self.numbers(binding)
        return step if len(numbers) == len(binding.channels) else OnChannels(step, numbers)


def with_step(image: SurveyedImage, step: Step, before_geometry: bool) -> SurveyedImage:
    """Return an image whose pixels go through one more step, the last one before or after."""
    steps = image.source.steps
    if before_geometry:
        steps = replace(steps, before=(*steps.before, step))
    else:
        steps = replace(steps, after=(*steps.after, step))
    return replace(image, source=replace(image.source, steps=steps))

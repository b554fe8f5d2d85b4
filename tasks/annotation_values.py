"""What a file's numbers stand for in a mask or a label map: checked, and never silently changed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .annotation import AnnotationField
from .source import SourceError


class Values(Protocol):
    """Turns a file's numbers into a field's."""

    def __call__(self, path: str, pixels: NDArray[Any], field: AnnotationField) -> NDArray[Any]:
        """Return a field's numbers.

        Parameters
        ----------
        path
            Of the file, for errors.
        pixels
            Shape (c, …), of any integer or float type.
        field
            What is made.

        Returns
        -------
        numbers
            Of the field's type, shape (…).

        Raises
        ------
        SourceError
            For a number that the field cannot have.
        """
        ...


@dataclass(frozen=True)
class ClassValues:
    """Of a mask whose numbers are those of its classes; NaN is an unknown one.

    Attributes
    ----------
    refuses_unknown
        Whether a number of no class is an error; else it becomes the ignore value.
    """

    refuses_unknown: bool = False

    def __call__(self, path: str, pixels: NDArray[Any], field: AnnotationField) -> NDArray[Any]:
        """Return classes, see `Values`."""
        (values,) = pixels
        if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
            found: NDArray[Any] = _class_table(field, values.dtype).take(values)
        else:
            known = np.isin(values, _in_type(_numbers(field), values.dtype))
            found = np.full(values.shape, field.ignore, field.dtype)
            found[known] = values[known].astype(field.dtype)
        if (left := found == field.ignore).any():
            self._check(path, values[left], field)
        return found

    def _check(self, path: str, unknown: NDArray[Any], field: AnnotationField) -> None:
        if self.refuses_unknown:
            wrong = unknown[unknown != field.ignore]
            names = ", ".join(str(number) for number, _ in field.classes)
            text = f"holds values that are none of its classes ({names}); name them in classes, or "
            text += 'write unknown = "ignore"'
        elif unknown.dtype.kind == "f":
            wrong = unknown[np.isfinite(unknown) & (unknown != np.rint(unknown))]
            text = "holds values that are no whole numbers, as classes are; mend the file"
        else:
            return
        if wrong.size:
            raise SourceError(f"{path}: {text}", detail=f"found {wrong[0]}")


@dataclass(frozen=True)
class ColourValues:
    """Of a mask whose classes are colours.

    Attributes
    ----------
    colours
        For each (red, green, blue) the number of its class, or the ignore value.
    refuses_unknown
        Whether another colour is an error; else it becomes the ignore value.
    """

    colours: tuple[tuple[tuple[int, int, int], int], ...]
    refuses_unknown: bool = True

    def __call__(self, path: str, pixels: NDArray[Any], field: AnnotationField) -> NDArray[Any]:
        """Return classes, see `Values`; pixels are uint8, shape (3, …)."""
        codes = _colour_codes(pixels)
        table = np.array([colour for colour, _ in self.colours], np.uint8).T
        known_codes = _colour_codes(table)
        order = np.argsort(known_codes)
        numbers = np.array([number for _, number in self.colours], field.dtype)[order]
        at = np.searchsorted(known_codes[order], codes).clip(max=len(order) - 1)
        known = known_codes[order][at] == codes
        if self.refuses_unknown and not known.all():
            colour = pixels[:, ~known][:, 0].tolist()
            raise SourceError(
                f"{path}: holds colours that are none of its classes'; name them in colours, or "
                'write unknown = "ignore"',
                detail=f"found {colour}",
            )
        return np.where(known, numbers[at], np.asarray(field.ignore, field.dtype))


@dataclass(frozen=True)
class ObjectValues:
    """Of a label map: whole numbers, each an object, 0 for none."""

    def __call__(self, path: str, pixels: NDArray[Any], field: AnnotationField) -> NDArray[Any]:
        """Return labels, see `Values`."""
        (values,) = pixels
        most = int(np.iinfo(field.dtype).max)
        if values.dtype.kind == "f":
            # Beyond these, neighbouring whole numbers are one and the same float.
            exact = 2 ** (np.finfo(values.dtype).nmant + 1)
            whole = values == np.rint(values)
            wrong = ~whole | ~(values >= 0) | ~(values <= _below(min(most, exact), values.dtype))
        else:
            limits = np.iinfo(values.dtype)
            wrong = np.zeros(1, bool)
            if limits.min < 0 or limits.max > most:
                wrong = (values < 0) | (values > min(most, limits.max))
        if wrong.any():
            raise SourceError(
                f"{path}: holds what is no label: labels are whole numbers from 0 to {most} "
                f"({field.dtype}), and below 2^24 in a float32 file; mend the file, or write a "
                "wider dtype for the labels",
                detail=f"found {values[wrong][0]}",
            )
        labels: NDArray[Any] = values.astype(field.dtype)
        return labels


def _numbers(field: AnnotationField) -> list[int]:
    return [number for number, _ in field.classes]


@lru_cache(maxsize=16)
def _class_table(field: AnnotationField, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return what each value of a small type becomes."""
    numbers = _in_type(_numbers(field), dtype)
    found = np.full(np.iinfo(dtype).max + 1, field.ignore, field.dtype)
    found[numbers] = numbers.astype(field.dtype)
    return found


def _in_type(numbers: list[int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return those of the numbers that the type has."""
    if dtype.kind == "f":
        return np.array(numbers, dtype)
    limits = np.iinfo(dtype)
    return np.array([n for n in numbers if limits.min <= n <= limits.max], dtype)


def _below(limit: int, dtype: np.dtype[Any]) -> Any:
    """Return the largest number of a float type that is not above a limit."""
    found = dtype.type(min(limit, float(np.finfo(dtype).max)))
    return found if int(found) <= limit else np.nextafter(found, dtype.type(0))


def _colour_codes(pixels: NDArray[np.uint8]) -> NDArray[np.uint32]:
    red, green, blue = pixels.astype(np.uint32)
    codes: NDArray[np.uint32] = (red << 16) | (green << 8) | blue
    return codes

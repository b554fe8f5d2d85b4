"""Polygons on a grid, against exact arithmetic point by point."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchmill.tasks import polygons as polygons_module
from patchmill.tasks import rasterise as module
from patchmill.tasks.polygons import PolygonBuilder
from patchmill.tasks.rasterise import polygon_edges, rasterise


def is_inside(rings, x, y):
    """Even-odd by exact fractions; a point on an outline is inside where it is to its left."""
    inside = False
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], *ring[:1]], strict=True):
            if (y0 <= y) != (y1 <= y):
                at = Fraction(x0) + (Fraction(y) - Fraction(y0)) * Fraction(x1 - x0) / Fraction(
                    y1 - y0
                )
                inside ^= at <= x
    return inside


def edges_of(rings):
    points = np.array([point for ring in rings for point in ring], float).reshape(-1, 2)
    return polygon_edges(points, np.cumsum([len(r) for r in rings], dtype=int))[0]


def build(polygons, names=("",)):
    builder = PolygonBuilder()
    for number, rings in enumerate(polygons):
        builder.add([np.array(ring, float).reshape(-1, 2) for ring in rings], number, 0)
    return builder.finish(names)


# Quarters of a pixel: outlines go through centres of pixels, too.
coordinate = st.integers(-8, 60).map(lambda n: n / 4)
rings = st.lists(st.tuples(coordinate, coordinate), max_size=9)


@given(st.lists(rings, min_size=1, max_size=4), st.sampled_from([1.0, 0.5, 2.0, 3.25]))
@settings(max_examples=120, deadline=None)
def test_every_point_is_as_exact_arithmetic_says(polygon, scale):
    ys, xs = -1 + (np.arange(14) + 0.5) * scale, (np.arange(12) + 0.5) * scale
    found = rasterise(edges_of(polygon), ys, xs)
    expected = [[is_inside(polygon, x, y) for x in xs.tolist()] for y in ys.tolist()]
    np.testing.assert_array_equal(found, expected)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_neighbours_neither_overlap_nor_leave_gaps(seed):
    """A sheet of crooked cells, whose corners are any floats; each edge is of two of them."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:7, 0:7] * 10.0 + rng.uniform(-4, 4, (2, 7, 7))
    ys, xs = np.arange(70) - 4.5, np.arange(70) - 4.5
    count = np.zeros((70, 70), int)
    for i, j in np.ndindex(6, 6):
        corners = [(i, j), (i, j + 1), (i + 1, j + 1), (i + 1, j)]
        corners = corners[:: rng.choice([1, -1])]
        count += rasterise(edges_of([[(x[at], y[at]) for at in corners]]), ys, xs)
    assert count.max() == 1
    outline = [(0, j) for j in range(7)] + [(i, 6) for i in range(1, 7)]
    outline += [(6, j) for j in range(5, -1, -1)] + [(i, 0) for i in range(5, 0, -1)]
    sheet = rasterise(edges_of([[(x[at], y[at]) for at in outline]]), ys, xs)
    np.testing.assert_array_equal(count, sheet)


@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_a_window_is_a_window_of_the_whole(seed, top, left):
    rng = np.random.default_rng(seed)
    polygon = [rng.uniform(-10, 60, (rng.integers(3, 30), 2)).tolist() for _ in range(2)]
    centres = np.arange(50) + 0.5
    whole = rasterise(edges_of(polygon), centres, centres)
    part = rasterise(edges_of(polygon), centres[top : top + 9], centres[left : left + 9])
    np.testing.assert_array_equal(part, whole[top : top + 9, left : left + 9])


def test_holes_are_rings_and_rings_close_themselves():
    square = [(0, 0), (6, 0), (6, 6), (0, 6)]
    hole = [(2, 2), (2, 4), (4, 4), (4, 2)]
    centres = np.arange(6) + 0.5
    found = rasterise(edges_of([square, hole]), centres, centres)
    assert found.sum() == 36 - 4
    assert not found[2:4, 2:4].any()
    closed = rasterise(edges_of([[*square, square[0]], [*hole, hole[0]]]), centres, centres)
    np.testing.assert_array_equal(found, closed)


@pytest.mark.parametrize("ring", [[], [(1, 1)], [(1, 1), (5, 5)], [(2, 2)] * 4, [(0, 3), (9, 3)]])
def test_what_encloses_nothing_has_no_pixels(ring):
    centres = np.arange(8) + 0.5
    assert not rasterise(edges_of([ring]), centres, centres).any()
    polygons = build([[ring]])
    rows, columns, inside = polygons.paint(0, centres, centres)
    assert inside.shape == (rows.stop - rows.start, columns.stop - columns.start)
    assert not inside.any()


def test_many_crossings_are_counted_in_runs(monkeypatch):
    rng = np.random.default_rng(3)
    edges = edges_of([rng.uniform(-20, 80, (400, 2)).tolist()])
    centres = np.arange(60) + 0.5
    at_once = rasterise(edges, centres, centres)
    monkeypatch.setattr(module, "_MAX_CROSSINGS", 100)
    np.testing.assert_array_equal(rasterise(edges, centres, centres), at_once)


@given(st.integers(0, 2**32 - 1), st.integers(0, 700))
@settings(max_examples=40, deadline=None)
def test_the_index_finds_every_polygon_of_a_window(seed, n):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-50, 1000, (n, 1, 2))
    sizes = rng.choice([1, 5, 400], (n, 1, 1))
    triangles = corners + rng.uniform(0, 1, (n, 3, 2)) * sizes
    polygons = build([[t] for t in triangles])
    for _ in range(5):
        y, x = rng.uniform(-100, 1000, 2)
        height, width = rng.uniform(0, 300, 2)
        low, high = triangles.min(axis=1), triangles.max(axis=1)
        touches = (low <= (x + width, y + height)) & (high >= (x, y))
        expected = np.flatnonzero(touches.all(axis=1))
        found = polygons.touching(y, y + height, x, x + width)
        np.testing.assert_array_equal(found, expected)


def test_polygons_are_built_in_runs(monkeypatch):
    rng = np.random.default_rng(1)
    shapes = [
        [rng.uniform(0, 50, (rng.integers(0, 9), 2)) for _ in range(rng.integers(0, 4))]
        for _ in range(60)
    ]
    centres = np.arange(50) + 0.5
    at_once = build(shapes)
    monkeypatch.setattr(polygons_module, "_RUN_POINTS", 20)
    in_runs = build(shapes)
    for name in ("edges", "ends", "boxes", "objects"):
        np.testing.assert_array_equal(getattr(in_runs, name), getattr(at_once, name))
    for number, shape in enumerate(shapes):
        rows, columns, inside = in_runs.paint(number, centres, centres)
        whole = np.zeros((50, 50), bool)
        whole[rows, columns] = inside
        np.testing.assert_array_equal(whole, rasterise(edges_of(shape), centres, centres))

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchmill.workflows.blocks import assign_blocks, block_counts, windows_split
from patchmill.workflows.errors import SplitError
from patchmill.workflows.recipe import Recipe
from patchmill.workflows.splits import (
    assign,
    assign_splits,
    require_patches,
    share_table,
    split_names,
    write_csv,
)

THREE = {"train": 0.8, "val": 0.1, "test": 0.1}
PATTERN = r"(?P<well>.)_(?P<site>.)_(?P<dose>.)_(?P<subset>.)"
FRACTIONS = st.sampled_from(
    [{"a": 1.0}, {"a": 0.5, "b": 0.5}, THREE, {"a": 0.2, "b": 0.3, "c": 0.5}]
)
COUNTS = st.lists(st.integers(1, 500), min_size=3, max_size=40)


def make(split, folder=".", group="well", seed=0):
    images = {"paths": "*", "pattern": PATTERN, "group": group}
    data = {"seed": seed, "images": images, "patches": {"size": 8}, "split": split}
    return Recipe.from_dict(data, folder)


def run(recipe, wells, counts, **columns):
    rows = [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
    groups = [(well,) for well in wells]
    return assign_splits(recipe, groups, np.asarray(counts), rows or [{}] * len(groups))


def column(counts):
    return np.asarray(counts, np.int64)[:, None]


def of_wells(result, wells):
    return {well: result.names[s] for well, s in zip(wells, result.split, strict=True)}


def test_names_of_splits():
    assert split_names(None) == ("train",)
    assert split_names(make({"fractions": {"b": 0.5, "a": 0.5}}).split) == ("b", "a")
    assert split_names(make({"folds": 3}).split) == ("fold0", "fold1", "fold2")
    assert split_names(make({"from": "subset"}).split) == ()


@settings(deadline=None)
@given(COUNTS, FRACTIONS, st.integers(0, 9), st.randoms(use_true_random=False))
def test_the_order_of_groups_does_not_matter(counts, fractions, seed, random):
    keys = [f"group{n}" for n in range(len(counts))]
    chosen = assign(column(counts), fractions, keys, seed)
    order = list(range(len(counts)))
    random.shuffle(order)
    again = assign(column([counts[n] for n in order]), fractions, [keys[n] for n in order], seed)
    assert again.tolist() == chosen[order].tolist()


@settings(deadline=None)
@given(COUNTS, FRACTIONS)
def test_shares_are_within_the_largest_group(counts, fractions):
    chosen = assign(column(counts), fractions, [str(n) for n in range(len(counts))], 0)
    total, largest = sum(counts), max(counts)
    reached = np.bincount(chosen, counts, minlength=len(fractions))
    assert (reached > 0).all()
    error = np.abs(reached - np.array(list(fractions.values())) * total)
    # A split that would be empty takes a group from another, which is then short of it.
    moved = min(fractions.values()) * total < largest
    assert (error <= largest * (2 if moved else 1) + 1e-6).all()


def test_the_seed_breaks_ties():
    keys = [f"group{n}" for n in range(30)]
    chosen = [tuple(assign(column([5] * 30), THREE, keys, seed).tolist()) for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert np.bincount(chosen[0]).tolist() == [24, 3, 3]


def test_a_split_is_filled_by_the_cheapest_move():
    # Each group lowers the error most in the first split, so that the others stay empty.
    most = {"train": 0.98, "val": 0.01, "test": 0.01}
    assert assign(column([1000, 60, 50, 40]), most, list("abcd"), 0).tolist() == [0, 0, 2, 1]
    assert assign(column([100, 90, 1]), most, list("xyz"), 0).tolist() == [0, 2, 1]


def test_too_few_groups():
    with pytest.raises(SplitError, match="2 groups with patches cannot fill 3 splits"):
        assign(column([5, 5, 0]), THREE, list("abc"), 0)


def test_groups_without_patches_go_to_the_largest_split():
    chosen = assign(
        column([0, 10, 80, 0, 10]), {"val": 0.1, "test": 0.1, "train": 0.8}, list("abcde"), 0
    )
    assert chosen[0] == chosen[3] == chosen[2] == 2


def test_stratify_keeps_the_shares_of_classes():
    wells = [f"w{n}" for n in range(40)]
    dose = ["high" if n % 4 == 0 else "low" for n in range(40)]
    recipe = make({"fractions": {"train": 0.5, "val": 0.5}, "stratify": "dose"})
    result = run(recipe, wells, [10] * 40, dose=dose)
    high = np.array(dose) == "high"
    assert np.bincount(result.split[high]).tolist() == [5, 5]
    assert np.bincount(result.split[~high]).tolist() == [15, 15]


def test_images_of_a_group_stay_together():
    wells = list("ABCDEFGHIJ") * 3
    result = run(make({"folds": 5}), wells, range(30))
    for well in set(wells):
        assert len({int(s) for s, w in zip(result.split, wells, strict=True) if w == well}) == 1
    assert result.names == ("fold0", "fold1", "fold2", "fold3", "fold4")
    assert sum(share.groups for share in result.table) == 10
    assert sum(share.patches for share in result.table) == sum(range(30))
    assert [share.wanted for share in result.table] == [0.2] * 5
    assert len(result.rows) == 10


def test_without_a_split_all_is_train():
    result = run(make(None), "AB", [0, 0])
    assert result.names == ("train",)
    assert result.split.tolist() == [0, 0]
    assert result.split.dtype == np.int8
    assert result.rows == (("A", "train"), ("B", "train"))
    assert result.table[0].reached == 0


def test_from_a_column():
    recipe = make({"from": "subset"})
    result = run(recipe, "ABCD", [1, 2, 3, 4], subset=["test", "extra", "train", "train"])
    assert result.names == ("train", "test", "extra")
    assert result.split.tolist() == [1, 2, 0, 0]
    assert [share.patches for share in result.table] == [7, 1, 2]
    assert result.table[0].wanted is None
    with pytest.raises(SplitError, match=r'group A has images in "train" and in "test"'):
        run(recipe, "AA", [1, 1], subset=["train", "test"])
    with pytest.raises(
        SplitError, match=r"no patches in the split test \(patches: train 4, test 0\)"
    ):
        run(recipe, "AB", [4, 0], subset=["train", "test"])


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 99), min_size=3, max_size=12),
    st.lists(st.integers(1, 999), max_size=12),
)
def test_new_groups_move_no_old_one(tmp_path_factory, old, new):
    folder = tmp_path_factory.mktemp("splits")
    wells = [f"old{n}" for n in range(len(old))]
    first = run(make({"fractions": THREE}), wells, old)
    write_csv(folder / "splits.csv", first.header, first.rows)
    more = [f"new{n}" for n in range(len(new))]
    recipe = make({"fractions": THREE, "from": "splits.csv"}, folder, seed=5)
    second = run(recipe, more + wells, new + old)
    assert of_wells(second, more + wells) | of_wells(first, wells) == of_wells(second, more + wells)
    assert second.new == len(new)
    assert dict(second.rows) == of_wells(second, more + wells)


def test_the_csv_is_the_same_bytes_and_keeps_absent_groups(tmp_path):
    path = tmp_path / "splits.csv"
    path.write_bytes(b'\xef\xbb\xbfnote,group,split\r\nx,w10,val\r\n"a,b",w2, train \r\n\r\n')
    result = run(make({"from": "splits.csv"}, tmp_path), ["w2"], [3])
    assert result.names == ("train",)
    write_csv(path, result.header, result.rows)
    assert path.read_bytes() == b"well,split\nw2,train\nw10,val\n"
    again = run(make({"from": "splits.csv"}, tmp_path), ["w2"], [3])
    assert again.rows == result.rows


def test_names_that_are_not_utf8(tmp_path):
    wells = ["caf\udce9", "b"]
    first = run(make({"folds": 2}), wells, [1, 1])
    write_csv(tmp_path / "s.csv", first.header, first.rows)
    assert b"caf\xe9," in (tmp_path / "s.csv").read_bytes()
    again = run(make({"from": "s.csv"}, tmp_path), wells, [1, 1])
    assert again.split.tolist() == first.split.tolist()


def test_the_csv_of_images_and_of_two_names(tmp_path):
    recipe = make({"folds": 2}, tmp_path, group=())
    result = assign_splits(recipe, [("p/a,1",), ("p/b",)], np.array([1, 1]), [{}, {}])
    assert result.header == ("image", "split")
    write_csv(tmp_path / "s.csv", result.header, result.rows)
    recipe = make({"from": "s.csv"}, tmp_path, group=())
    again = assign_splits(recipe, [("p/a,1",), ("p/b",)], np.array([1, 1]), [{}, {}])
    assert again.split.tolist() == result.split.tolist()
    recipe = make({"folds": 2}, group=["well", "site"])
    result = assign_splits(recipe, [("A", "1"), ("A", "2")], np.array([1, 1]), [{}, {}])
    assert result.header == ("well", "site", "split")


@pytest.mark.parametrize(
    ("text", "split", "expected"),
    [
        (None, {}, "cannot be read"),
        ("well\nA\n", {}, "has the columns well; write the columns well, split"),
        ("", {}, "has the columns none"),
        ("well,split\nA,\n", {}, "line 2: A,  leaves"),
        ("well,split\nA,train\nB,val\nA,val\n", {}, 'line 4: A is in "train" and in "val"'),
        ("well,split\nA,train\n", {}, "does not list 1 of 2 groups: B"),
        ("well,split\nA,train\n", {"folds": 2}, 'puts A into "train", and the recipe has'),
        ("well,split\nA,a\nB,a\n", {"fractions": {"a": 0.5, "b": 0.5}}, "in the split b"),
    ],
)
def test_a_csv_that_does_not_fit(tmp_path, text, split, expected):
    if text is not None:
        (tmp_path / "s.csv").write_text(text)
    with pytest.raises(SplitError) as caught:
        run(make({"from": "s.csv"} | split, tmp_path), "AB", [1, 1])
    assert expected in str(caught.value)


def test_listed_groups_are_not_moved_to_fill_a_split(tmp_path):
    (tmp_path / "s.csv").write_text("well,split\nA,a\nB,a\n")
    recipe = make({"from": "s.csv", "fractions": {"a": 0.4, "b": 0.3, "c": 0.3}}, tmp_path)
    with pytest.raises(SplitError, match=r'"c" gets no patches: .* fixed by the CSV'):
        run(recipe, "ABC", [1, 1, 5])


def test_shares_and_empty_splits():
    table = share_table(["a", "b"], {"a": 0.5, "b": 0.5}, np.array([3, 1]), np.array([1, 1]))
    require_patches(table)
    assert [share.reached for share in table] == [0.75, 0.25]
    with pytest.raises(SplitError, match=r"split b \(patches: a 3, b 0\)"):
        require_patches(share_table(["a", "b"], {}, np.array([3, 0]), np.array([1, 1])))


SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@settings(deadline=None)
@given(
    shape=st.tuples(st.integers(12, 50), st.integers(12, 50)),
    size=SIZES,
    stride=SIZES,
    blocks=st.tuples(st.integers(2, 20), st.integers(2, 20)),
    seed=st.integers(0, 99),
)
def test_no_pixel_lies_in_two_splits(shape, size, stride, blocks, seed):
    images = {"paths": "*"}
    split = {"fractions": {"train": 0.6, "val": 0.4}, "blocks_px": blocks}
    recipe = Recipe.from_dict(
        {"seed": seed, "images": images, "patches": {"size": size}, "split": split}
    )
    ys = np.arange(0, shape[0] - size[0] + 1, stride[0])
    xs = np.arange(0, shape[1] - size[1] + 1, stride[1])
    y, x = (axis.ravel() for axis in np.meshgrid(ys, xs, indexing="ij"))
    counts = block_counts(shape, blocks, y, x)
    assert counts.sum() == len(y)
    assert counts.shape == (-(-shape[0] // blocks[0]), -(-shape[1] // blocks[1]))
    if np.count_nonzero(counts) < 2:
        with pytest.raises(SplitError):
            assign_blocks(recipe, ["slide"], [counts], [{}])
        return
    result = assign_blocks(recipe, ["slide"], [counts], [{}])
    block_map = result.maps[0]
    assert block_map.shape == counts.shape
    of = windows_split(block_map, blocks, y, y + size[0], x, x + size[1])
    painted = np.full(shape, -1)
    blocks_of = np.repeat(np.repeat(block_map, blocks[0], 0), blocks[1], 1)[: shape[0], : shape[1]]
    for top, left, split_number in zip(y, x, of, strict=True):
        window = np.s_[top : top + size[0], left : left + size[1]]
        touched = set(blocks_of[window].ravel().tolist())
        assert (split_number >= 0) == (len(touched) == 1)
        if split_number >= 0:
            assert touched == {split_number}
            assert (np.isin(painted[window], [-1, split_number])).all()
            painted[window] = split_number


def test_windows_beyond_the_image_and_empty_ones():
    block_map = np.array([[0, 1], [0, 0]], np.int8)
    of = windows_split(block_map, (10, 10), [5, 0, -3], [99, 10, 4], [0, 5, 12], [10, 15, 99])
    assert of.tolist() == [0, -1, 1]
    assert of.dtype == np.int8
    with pytest.raises(ValueError, match="at least one pixel"):
        windows_split(block_map, (10, 10), [5], [5], [0], [1])


def test_blocks_of_many_images_do_not_depend_on_their_order():
    split = {"fractions": {"train": 0.5, "val": 0.5}, "blocks_px": 4}
    recipe = Recipe.from_dict({"images": {"paths": "*"}, "patches": {"size": 4}, "split": split})
    counts = [np.full((3, 2), 5), np.full((2, 2), 5), np.zeros((1, 1), int)]
    forth = assign_blocks(recipe, ["a", "b", "c"], counts, [{}] * 3)
    back = assign_blocks(recipe, ["c", "b", "a"], counts[::-1], [{}] * 3)
    for one, other in zip(forth.maps, back.maps[::-1], strict=True):
        assert one.tolist() == other.tolist()
    assert [share.patches for share in forth.table] == [25, 25]
    with pytest.raises(ValueError, match="use assign_splits"):
        assign_blocks(make({"folds": 2}), ["a"], counts[:1], [{}])

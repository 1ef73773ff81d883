"""From file names to labels, from files to batches."""

import shutil
import threading
import types

import numpy as np
import pytest
from PIL import Image

from data import console, files, labels, order, pictures, pipeline, readers


@pytest.mark.parametrize(
    ('name', 'label'),
    [
        ('26_1_3_20170117195459275.jpg.chip.jpg', (26, 1)),
        ('100_0_0_20170112213500903.jpg.chip.jpg', (100, 0)),
        ('39_1_20170116174525125.jpg.chip.jpg', (39, 1)),  # no race
        ('24_0_1_20170116220224657 .jpg.chip.jpg', (24, 0)),
        ('55_0_0_20170116232725357jpg.chip.jpg', (55, 0)),
        ('data/my_set/7_1_x.png', (7, 1)),
        ('data\\my_set\\7_1_x.png', (7, 1)),
        ('7_1.jpg', (7, 1)),
        ('7_2_0_2017.jpg', None),  # no such gender
        ('61_3_20170109150557335.jpg', None),
        ('7_10_2017.jpg', None),
        ('_1_0_2017.jpg', None),
        ('-7_1_0_2017.jpg', None),
        ('portrait.jpg', None),
        ('7.jpg', None),
        ('000_0.jpg', None),  # a person's number and a counter
        ('007_1_x.jpg', None),
        ('5_1_2024.jpg', None),  # a day
        ('31_1_1999_x.jpg', None),
        ('32_1_2024.jpg', (32, 1)),
        ('0_1_20240101.jpg', (0, 1)),
        ('1234_1_0.jpg', None),
    ],
)
def test_parse_name(name, label):
    assert readers.parse_name(name) == label


def test_age_groups():
    groups = {0: 0, 5: 0, 6: 1, 10: 1, 11: 2, 15: 2, 16: 3, 20: 3, 21: 4, 30: 4, 31: 5, 40: 5}
    groups |= {41: 6, 50: 6, 51: 7, 60: 7, 61: 8, 70: 8, 71: 9, 116: 9}
    assert {age: labels.age_group(age) for age in groups} == groups


def test_one_hot():
    np.testing.assert_array_equal(labels.one_hot([1, 0], 2), [[-1, 1], [1, -1]])
    assert labels.one_hot([3], 10).dtype == np.float32


def test_centres_of_the_age_groups():
    assert list(labels.age_centres()) == [2.5, 8, 13, 18, 25.5, 35.5, 45.5, 55.5, 65.5, 80]
    assert list(labels.age_centres((17, 40))) == [8.5, 29, 50]


@pytest.mark.parametrize('age_upper', [labels.AGE_UPPER, (17, 40)])
def test_an_age_has_a_label_between_those_of_the_groups(age_upper):
    centres, count = labels.age_centres(age_upper), len(age_upper) + 1
    groups = labels.one_hot(range(count), count)
    np.testing.assert_array_equal(labels.age_label(centres, age_upper), groups)
    # A quarter of the way from each centre to the next one.
    years = centres[:-1] * 0.75 + centres[1:] * 0.25
    expected = groups[:-1] * 0.75 + groups[1:] * 0.25
    np.testing.assert_allclose(labels.age_label(years, age_upper), expected, atol=1e-6)
    outside = labels.age_label([[0, 1], [100, 120]], age_upper)
    assert outside.shape == (2, 2, count) and outside.dtype == np.float32
    assert (outside[0] == groups[0]).all() and (outside[1] == groups[-1]).all()


def test_ages_in_years():
    assert labels.parse_ages('5, 30,120,0') == (5, 30, 120, 0)
    for text in ('', '5,', 'five', '-1', '121', '5 30', '30.5', '9' * 5000):
        with pytest.raises(console.InputError, match='are no ages: pass whole numbers'):
            labels.parse_ages(text)


def test_animations_glide_from_the_first_centre_to_the_last():
    years = list(labels.glide_years())
    assert years[0] <= 2.5 and years[-1] == 80
    assert len({*np.diff(years)}) == 1 and len(years) < 30


def test_faces_are_sorted_and_unlabelled_names_counted(faces):
    for name in ('zebra.jpg', 'a.JPG'):
        shutil.copy(next(faces.iterdir()), faces / name)
    (faces / 'notes.txt').write_text('no image')
    (faces / '._7_1_0.jpg').write_text("a Mac's")
    with pytest.warns(UserWarning, match=r"^2 of 16 images in .*faces skipped.*'a\.JPG'\.$") as all:
        paths, ages, genders = labels.list_faces(str(faces))
    assert len(all) == 1
    assert paths == sorted(paths) and len(paths) == 14
    for path, age, gender in zip(paths, ages, genders, strict=True):
        years, expected = readers.parse_name(path)
        assert (age, gender) == (labels.age_group(years), expected)


def test_a_large_data_set_is_listed_without_opening_a_picture(tmp_path, monkeypatch):
    count = 23_000
    for i in range(count):
        (tmp_path / f'{1 + i % 100}_{i % 2}_0_{i}.jpg').touch()  # none could be read

    def refuse(*_):
        raise AssertionError('a file is opened')

    monkeypatch.setattr(pictures, 'open_picture', refuse)
    monkeypatch.setattr('builtins.open', refuse)
    paths, ages, genders = labels.list_faces(str(tmp_path))
    assert len(paths) == len(ages) == count and genders.sum() == count // 2
    assert order.digest(str(tmp_path), paths, ages, genders)


def test_holding_faces_out(faces):
    paths, ages, _ = labels.list_faces(str(faces))
    kept, kept_ages, genders = labels.list_faces(str(faces), hold_out=True)
    assert kept == [path for path in paths if not labels.held_out(path)]
    assert 0 < len(paths) - len(kept) < 7 and len(kept) == len(genders)
    assert list(kept_ages) == [ages[paths.index(path)] for path in kept]


@pytest.fixture
def free(monkeypatch):
    """A function that sets how many bytes of memory and disk are free."""

    def set_free(memory, disk):
        gauge = types.SimpleNamespace
        monkeypatch.setattr('data.limits.available_memory', lambda: memory)
        monkeypatch.setattr('shutil.disk_usage', lambda _: gauge(free=disk))

    return set_free


@pytest.mark.parametrize(
    ('memory', 'disk', 'kind'),
    [
        (2 * 43008, 0, np.ndarray),
        (2 * 43008 - 2, 2 * 43008, np.memmap),
        (43008, 43008, np.memmap),
    ],
)
def test_the_first_cache_with_space_is_taken(faces, free, memory, disk, kind):
    free(memory, disk)  # 14 faces of 32 x 32 take 43008 bytes
    paths = files.list_images(str(faces))
    decoded, _, _ = pipeline.decode_faces(paths, 32)
    assert type(decoded) is kind and len(decoded) == 14
    expected = np.stack([pictures.read_face(path, 32) for path in paths])
    np.testing.assert_array_equal(decoded[2:5], expected[2:5])
    np.testing.assert_array_equal(decoded[np.array([7, 0])], expected[[7, 0]])
    assert pipeline.decode_faces(paths, 32, num_channels=1)[0].shape == (14, 32, 32, 1)


def test_a_cache_without_space(faces, free):
    free(43007, 43008)
    paths = files.list_images(str(faces))
    with pytest.raises(
        console.InputError, match=r'0\.0 GiB of memory are free: .*elsewhere, in disk or in'
    ):
        pipeline.decode_faces(paths, 32, cache='memory')
    assert isinstance(pipeline.decode_faces(paths, 32, cache='disk')[0], np.memmap)


def test_batches():
    faces = np.arange(7 * 2 * 2 * 3, dtype=np.uint8).reshape(7, 2, 2, 3)
    ages, genders = labels.one_hot(range(7), 10), labels.one_hot([0, 1] * 3 + [0], 2)
    order = np.array([6, 2, 4, 0, 1])
    batches = list(pipeline.batches(faces, ages, genders, order, 2))
    assert len(batches) == 2  # the fifth face is left over
    for (image, age, gender), index in zip(batches, ([6, 2], [4, 0]), strict=True):
        np.testing.assert_array_equal(image, faces[index])
        np.testing.assert_array_equal(age, ages[index])
        np.testing.assert_array_equal(gender, genders[index])


PATIENCE = 60  # seconds, for what takes none


@pytest.mark.parametrize('size_batch', [1, 2, 4, 5, 100])
def test_a_function_is_run_batch_by_batch(size_batch, capsys, monkeypatch):
    monkeypatch.setattr(pipeline, 'AT_ONCE', size_batch)
    seen, rows, more = [], np.arange(10).reshape(5, 2), np.arange(5)

    def both(one, other):
        seen.append(len(one))
        return one + other[:, None], -other

    summed, less = pipeline.in_batches(both, rows, more)
    np.testing.assert_array_equal(summed, rows + more[:, None])
    np.testing.assert_array_equal(less, -more)
    assert sum(seen) == 5 and max(seen) <= size_batch and len(seen) == -(-5 // size_batch)
    assert max(seen) - min(seen) <= 1  # no part is much smaller than the others
    assert capsys.readouterr().err == ''
    alone = pipeline.in_batches(lambda x: x, rows, title='Doing')
    np.testing.assert_array_equal(alone, rows)
    assert 'Doing: 100%, 5/5' in capsys.readouterr().err


def test_a_thread_works_one_ahead():
    begun = [threading.Event() for _ in range(4)]

    def work(index):
        begun[index].set()
        return 10 // (3 - index)

    results = pipeline.one_ahead(work, range(4))
    assert begun[0].wait(PATIENCE)  # before anybody asks
    for index, expected in enumerate([3, 5, 10]):
        assert next(results) == expected
        assert begun[index + 1].wait(PATIENCE)
        assert not any(event.is_set() for event in begun[index + 2 :])
    with pytest.raises(ZeroDivisionError):  # at its place
        next(results)


def test_to_float():
    scaled = pipeline.to_float(np.array([0, 51, 255], np.uint8))
    np.testing.assert_allclose(scaled, [-1, -0.6, 1], atol=1e-6)


def test_held_out_faces():
    names = [f'{i}_0_0_{i:017d}.jpg' for i in range(20_000)]
    share = np.mean([labels.held_out(name) for name in names])
    assert share == pytest.approx(0.05, abs=0.005)
    assert labels.held_out('13_1_drawn012.jpg') == labels.held_out('C:\\a\\13_1_drawn012.jpg')
    chosen = [i for i in range(120) if labels.held_out(f'a/b/25_0_drawn{i:03d}.jpg')]
    assert chosen == [15, 41, 86, 97]


def copy_turned(faces, held):
    """Write a mirrored copy of a face, whose name is held out or not; return the two names."""
    names = [path.name for path in sorted(faces.iterdir()) if labels.held_out(path.name) == held]
    for i in range(1000):
        name = f'33_1_copy{i}.png'
        if labels.held_out(name) != held:
            with Image.open(faces / names[0]) as image:
                image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(faces / name)
            return names[0], name


@pytest.mark.parametrize('held', [True, False])
def test_all_faces_of_a_held_out_photo_are_held_out(faces, held, monkeypatch, tmp_path):
    """Whichever of the two names decides, and wherever the faces are kept."""
    monkeypatch.setattr(labels, 'HELD_OUT', 4)
    pair = copy_turned(faces, held)
    paths = [path for path in labels.list_faces(str(faces))[0] if files.base_name(path) not in pair]
    expected = [path for path in paths if not labels.held_out(path)]
    assert 2 < len(expected) < len(paths)
    for cache in (*pipeline.CACHES, str(tmp_path / 'cache')):
        data, digest = pipeline.load_data_set(str(faces), 2, 32, hold_out='photo', cache=cache)
        np.testing.assert_array_equal(
            data[0][np.arange(len(data[0]))],
            [pictures.read_face(path, 32) for path in expected],
        )
    assert len(data[1]) == len(data[2]) == len(expected)
    call = f'python -m data.check faces --datadir {faces.parent} --csv True keeps one'
    with pytest.warns(UserWarning, match=f'1 photos in .* more than once, as 2 faces: {call}'):
        assert pipeline.load_data_set(str(faces), 2, 32)[1] != digest


def test_by_name_only_names_count(faces, monkeypatch):
    """As runs that began with this rule go on."""
    monkeypatch.setattr(labels, 'HELD_OUT', 4)
    copy_turned(faces, True)
    paths, ages, genders = labels.list_faces(str(faces), hold_out=True)
    data, digest = pipeline.load_data_set(str(faces), 2, 32, hold_out='name')
    assert len(data[0]) == len(paths)
    assert digest == order.digest(str(faces), paths, ages, genders)

"""The judge of ages and genders: what it learns from, how it is packed, what it says."""

import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from data import files, labels, pictures, readers
from demo.evaluate import judge, judge_data
from tests import draw_faces


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    """A folder of 120 drawn faces, and its small judge: not to be changed."""
    folder = tmp_path_factory.mktemp('judge')
    draw_faces.draw_data_set(folder / 'faces', 120)
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        judge.main(words(folder, '--out', folder / 'out'))
    return folder


@pytest.fixture
def small(monkeypatch):
    make_small(monkeypatch)


def make_small(patch):
    patch.setattr(judge, 'WIDTHS', (16, 16))
    patch.setattr(judge, 'STEPS', 2)
    patch.setattr(labels, 'held_out', lambda name: int(name[-7:-4]) % 3 == 0)


def words(folder, *more):
    return [*map(str, ['--datadir', folder, '--dataset', 'faces', *more])]


# -------------------------------------------------------------------------------- learning


def test_batches_are_balanced():
    """Of each cell as many, and within a cell each face as often as any other."""
    cells = np.repeat([0, 3, 4, -1], [2, 50, 7, 20])
    order = judge_data.balanced_order(cells, 84, np.random.default_rng(0))
    counts = np.bincount(order, minlength=len(cells))
    assert len(order) == 84
    for cell in (0, 3, 4):
        assert counts[cells == cell].sum() == 28
        assert np.ptp(counts[cells == cell]) <= 1
        assert (np.count_nonzero(cells[order].reshape(4, 21) == cell, axis=1) == 7).all()
    assert not counts[cells == -1].any()


def test_faces_are_varied_anew_in_each_batch_and_alike_by_seed():
    faces = np.random.RandomState(0).randint(0, 256, [4, 128, 128, 3]).astype(np.uint8)
    first, again, other = (
        judge_data.vary(tf.constant(faces), tf.constant(seed, tf.int64)).numpy()
        for seed in ([1, 5], [1, 5], [1, 6])
    )
    assert first.shape == (4, judge_data.SIZE, judge_data.SIZE, 3) and first.dtype == np.float32
    assert first.min() >= -1 and first.max() <= 1
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 0.01


def test_calibration_undoes_a_leaning_to_the_middle():
    """A network that tells four fifths of the distance from 50: its years become the true ones."""
    years = np.repeat(np.arange(2, 90, 8), 10)
    groups = np.searchsorted(labels.AGE_UPPER, years)
    knots = judge.calibrate(50 + (years - 50) * 0.8, years, groups)
    np.testing.assert_allclose(np.interp([18, 50, 74], *knots), [10, 50, 80], atol=1.5)


# ------------------------------------------------------------------------------- judging


def test_the_packed_judge_tells_children_from_old_people():
    """Of faces that it never saw, made-up ones."""
    paths = files.list_images('demo/faces')
    faces = np.stack([pictures.read_face(path) for path in paths])
    years = np.array([readers.parse_name(path)[0] for path in paths])
    judged, female = judge.load()(faces)
    assert judged.shape == female.shape == (10,)
    assert judged[years <= 10].max() < judged[years > 50].min()
    assert np.corrcoef(judged, years)[0, 1] > 0.8
    assert female.min() >= 0 and female.max() <= 1


def test_the_packed_judge_is_not_drawn_to_the_middle():
    """What the project promises of it, on the held-out faces: their errors are in the manifest."""
    with open(f'{judge.HERE}/{judge.MANIFEST}', encoding='utf-8') as file:
        rows = json.load(file)['held_out']
    assert [row['group'] for row in rows] == ['all', *labels.age_names()]
    assert rows[0]['mean_error'] <= 8
    assert all(abs(row['judged_age'] - row['mean_age']) <= 4 for row in rows)


def test_a_face_is_judged_like_its_mirror_image_and_grey_faces_too(small):
    one = judge.Judge(judge.network(), np.array([[0.0, 100], [0, 100]]))
    faces = np.random.RandomState(0).randint(0, 256, [3, 64, 64, 3]).astype(np.uint8)
    np.testing.assert_allclose(one(faces[:, :, ::-1]), one(faces), rtol=1e-4)
    grey = faces[..., :1]
    np.testing.assert_allclose(one(grey), one(grey.repeat(3, -1)), rtol=1e-4)


# --------------------------------------------------------------------------------- program


def test_a_judge_is_trained_and_described(drawn, small):
    with open(drawn / 'out' / judge.MANIFEST) as file:
        manifest = json.load(file)
    assert manifest['faces'] == 80 and manifest['held_out'][0]['faces'] == 40
    assert (manifest['steps'], manifest['seed'], manifest['dataset']) == (2, 1, 'faces')
    assert judge.load(str(drawn / 'out')).knots.shape == (2, len(judge.KNOTS))


def test_a_packed_judge_judges_as_before(small, tmp_path):
    before = judge.Judge(judge.network(), np.array([[0.0, 50, 100], [0, 30, 100]]))
    for variable in before.model.variables:
        variable.assign(variable + np.random.RandomState(1).uniform(0, 0.3, variable.shape))
    judge.save(before, {'epochs': 1}, str(tmp_path))
    faces = np.random.RandomState(0).randint(0, 256, [5, 64, 64, 3]).astype(np.uint8)
    for found, expected in zip(judge.load(str(tmp_path))(faces), before(faces), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0.02)  # float16
    assert sorted(path.name for path in tmp_path.iterdir()) == [judge.MANIFEST, judge.WEIGHTS]


def test_held_out_faces_and_their_copies_are_not_learnt_from(drawn, small, tmp_path, monkeypatch):
    seen = {}
    shutil.copytree(drawn / 'faces', tmp_path / 'faces')
    shutil.copy(drawn / 'faces' / '3_0_drawn000.jpg', tmp_path / 'faces' / '25_1_copy001.jpg')
    monkeypatch.setattr(judge, 'train', lambda faces, *_: seen.update(faces=faces) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        judge.main(words(tmp_path))
    names = sorted(os.listdir(tmp_path / 'faces'))
    faces, _, _, held = judge_data.read_faces(str(tmp_path / 'faces'))
    assert held[names.index('3_0_drawn000.jpg')] and held[names.index('25_1_copy001.jpg')]
    assert held.sum() == 41
    np.testing.assert_array_equal(seen['faces'], faces[~held])


@pytest.mark.parametrize('held', [True, False])
def test_faces_that_a_judge_cannot_learn_from(drawn, monkeypatch, tmp_path, held):
    monkeypatch.setattr(labels, 'held_out', lambda name: held)
    with pytest.raises(SystemExit, match='or none that are held out'):
        judge.main(words(drawn, '--out', tmp_path))
    assert not list(tmp_path.iterdir())

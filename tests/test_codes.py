"""The statistics of codes: measured, pooled, and stored with the weights."""

import json

import numpy as np
import pytest
import tensorflow as tf

import face_aging
import init_model
from data import labels
from data.console import InputError
from init_model import codes, pack
from tests import draw_faces
from tests.conftest import TINY
from tests.test_face_aging import assert_same, weights_of
from tests.test_init_model import (  # noqa: F401, fixtures among them
    packed,
    packed_once,
    save_checkpoint,
    savedir,
)

pytestmark = [
    pytest.mark.usefixtures('no_init_model', 'eagerly'),
    pytest.mark.filterwarnings('ignore:Even though the `tf.config'),
]
L, Z = 10, 50


def random_codes(counts, seed=0):
    """Return codes, groups and genders of so many faces of each cell [L, 2], means apart."""
    random = np.random.RandomState(seed)
    cells = [cell for cell in np.ndindex(L, 2) for _ in range(counts[cell])]
    groups, genders = np.array(cells).T
    mixing = random.normal(size=(Z, Z)) / 10
    z = groups[:, None] + 100 * genders[:, None] + random.normal(size=(len(cells), Z)) @ mixing
    return z, groups, genders, mixing.T @ mixing


def some_codes(seed=0):
    random = np.random.RandomState(seed)
    z = random.uniform(-1, 1, (200, Z))
    return codes.measure(z, random.randint(0, L, 200), random.randint(0, 2, 200), L)


def test_means_and_covariance():
    z, groups, genders, covariance = random_codes(np.full([L, 2], 300))
    found = codes.measure(z, groups, genders, L)
    assert (found.count == 300).all()
    for group, gender in np.ndindex(L, 2):
        members = z[(groups == group) & (genders == gender)]
        np.testing.assert_allclose(found.mean[group, gender], members.mean(axis=0), rtol=1e-5)
    # That within the cells: the means are a hundred deviations apart.
    error = np.abs(found.covariance - covariance).max()
    assert error < 0.1 * np.abs(covariance).max()


def test_a_small_cell_is_pooled_with_its_neighbours():
    counts = np.full([L, 2], 40)
    counts[4, 0] = 3
    z, groups, genders, _ = random_codes(counts)
    found = codes.measure(z, groups, genders, L)
    window = (abs(groups - 4) <= 1) & (genders == 0)
    np.testing.assert_allclose(found.mean[4, 0], z[window].mean(axis=0), rtol=1e-5)
    own = z[(groups == 4) & (genders == 1)].mean(axis=0)
    np.testing.assert_allclose(found.mean[4, 1], own, rtol=1e-5)
    assert found.count[4, 0] == 3


def test_where_one_gender_is_missing_the_other_stands_in():
    counts = np.full([L, 2], 40)
    counts[:, 1] = 0
    z, groups, genders, _ = random_codes(counts)
    found = codes.measure(z, groups, genders, L)
    np.testing.assert_array_equal(found.mean[:, 1], found.mean[:, 0])


def test_fewer_faces_than_components():
    z, groups, genders, _ = random_codes(np.eye(L, 2, dtype=int) * 3)
    found = codes.measure(z, groups, genders, L)
    assert np.linalg.eigvalsh(found.covariance).min() > 0
    same = codes.measure(np.zeros_like(z), groups, genders, L)
    assert np.linalg.eigvalsh(same.covariance).min() > 0
    with pytest.raises(InputError, match='take a data set'):
        codes.measure(z[:1], groups[:1], genders[:1], L)


def test_only_faces_that_may_be_trained_on_and_at_most_so_many_of_a_cell(
    tiny, tmp_path, monkeypatch
):
    folder = tmp_path / 'faces'
    draw_faces.draw_data_set(folder, 60)
    paths, groups, genders = labels.list_faces(folder)
    model = tiny(is_training=False)
    monkeypatch.setattr(labels, 'held_out', lambda path: path in paths[::3])
    monkeypatch.setattr(codes, 'PER_CELL', 2)
    decoded = []
    decode = codes.pipeline.decode_faces
    monkeypatch.setattr(
        codes.pipeline, 'decode_faces', lambda p, *rest: (decoded.extend(p), decode(p, *rest))[1]
    )
    found = codes.measure_data_set(model, str(folder))
    free = np.array([path not in paths[::3] for path in paths])
    expected = np.zeros([L, 2])
    np.add.at(expected, (groups[free], genders[free]), 1)
    np.testing.assert_array_equal(found.count, np.minimum(expected, 2))
    assert len(decoded) == found.count.sum() and not {*decoded} & {*paths[::3]}


# ------------------------------------------------------------------------------------ stored


def assert_equal(found, expected):
    for array, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array, other)


def test_with_packed_weights(tiny, packed):  # noqa: F811
    assert codes.read(str(packed), L, Z) is None
    weights = init_model.load(str(packed))
    codes.store(str(packed), some_codes())
    assert_equal(codes.read(str(packed), L, Z), some_codes())
    assert (packed / 'codes.npz').stat().st_size < 50_000
    assert_same(init_model.load(str(packed)), weights)
    codes.store(str(packed), some_codes(1))
    assert_equal(codes.read(str(packed), L, Z), some_codes(1))
    names = {'E.npz', 'G.npz', 'D_z.npz', 'D_img.npz', 'codes.npz', 'manifest.json', 'history.csv'}
    assert {path.name for path in packed.iterdir()} == names


@pytest.mark.parametrize(
    'harm', [lambda data: data[:-9] + b'x' + data[-8:], lambda data: data[:100], None]
)
def test_damage_is_named(packed, harm):  # noqa: F811
    codes.store(str(packed), some_codes())
    path = packed / 'codes.npz'
    if harm:
        path.write_bytes(harm(path.read_bytes()))
    else:
        path.unlink()
    with pytest.raises(InputError, match=r'codes\.npz is (damaged|missing)'):
        codes.read(str(packed), L, Z)
    assert init_model.load(str(packed))  # the weights are of use without them


def test_those_of_another_model_are_refused(packed):  # noqa: F811
    codes.store(str(packed), some_codes())
    with pytest.raises(InputError, match=r'make them anew \(python -m init_model'):
        codes.read(str(packed), L - 1, Z)
    codes.store(str(packed), some_codes()._replace(count=np.full([L, 2], np.nan, np.float32)))
    with pytest.raises(InputError, match='damaged'):
        codes.read(str(packed), L, Z)


def test_in_a_checkpoint_which_goes_on_as_it_would_have(tiny, faces):
    tiny().train(1, use_init_model=False)
    tiny().train(2)
    folder = tiny().save_dir + '/checkpoint'
    codes.store(folder, some_codes())
    assert_equal(codes.read(folder, L, Z), some_codes())
    assert [*init_model.checkpoints.listed(folder)] == ['model-4', 'model-2']
    model = tiny()
    model.train(3)
    with_codes = weights_of(model)
    assert codes.read(folder, L, Z) is None  # these weights are others
    tf.io.gfile.rmtree(model.save_dir)
    model = tiny()
    model.train(3, use_init_model=False)
    assert_same(with_codes, weights_of(model))


def test_in_an_original_checkpoint(tiny, tmp_path):
    model = tiny(is_training=False)
    tensors = {name: variable.numpy() for name, variable in model.named_variables.items()}
    save_checkpoint(tmp_path / 'save' / 'checkpoint', tensors, 'model-7')
    codes.store(str(tmp_path / 'save' / 'checkpoint'), some_codes())
    assert_equal(codes.read(str(tmp_path / 'save' / 'checkpoint'), L, Z), some_codes())
    other = tiny(is_training=False)
    assert other.load_checkpoint()
    assert_same(weights_of(other), weights_of(model))


def test_packing_takes_them_along(savedir, tmp_path):  # noqa: F811
    for path in savedir.rglob('*'):
        if path.is_file():
            copy = tmp_path / 'save' / path.relative_to(savedir)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    out = tmp_path / 'out'
    codes.store(str(tmp_path / 'save' / 'checkpoint'), some_codes())
    pack.pack(str(tmp_path / 'save'), str(out), 'c0ffee', 'an abacus')
    assert_equal(codes.read(str(out), L, Z), some_codes())
    pack.pack(str(savedir), str(out), 'c0ffee', 'an abacus')
    assert codes.read(str(out), L, Z) is None
    assert not (out / 'codes.npz').exists()


def test_the_program(vivid, faces, monkeypatch, capsys):
    vivid()
    make = face_aging.FaceAging
    monkeypatch.setattr(face_aging, 'FaceAging', lambda **settings: make(**{**TINY, **settings}))
    words = ['--savedir', str(faces.parent / 'save'), '--datadir', str(faces.parent)]
    codes.main([*words, '--dataset', 'faces'])
    folder = str(faces.parent / 'save' / 'checkpoint')
    found = codes.read(folder, L, Z)
    count = len(labels.list_faces(str(faces), hold_out=True)[0])
    assert found.count.sum() == count
    assert f'{folder} has the statistics of the codes of {count} faces.' in capsys.readouterr().out
    with pytest.raises(SystemExit, match='no folder'):
        codes.main([*words, '--dataset', 'nowhere'])


def test_the_program_without_a_checkpoint(tiny, faces, packed, monkeypatch):  # noqa: F811
    make = face_aging.FaceAging
    monkeypatch.setattr(face_aging, 'FaceAging', lambda **settings: make(**{**TINY, **settings}))
    monkeypatch.setattr(face_aging, 'INIT_MODEL', str(packed))
    monkeypatch.chdir(faces.parent)  # where save has no checkpoint
    words = ['--datadir', str(faces.parent)]
    codes.main([*words, '--dataset', 'faces'])
    assert codes.read(str(packed), L, Z).count.sum() > 0
    assert 'codes.npz' in json.loads((packed / 'manifest.json').read_text())['files']

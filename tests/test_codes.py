"""The statistics of codes: measured, pooled, and stored with the weights."""

import json
import os
import pathlib
import re
import shutil
import types

import numpy as np
import pytest

import face_aging
import init_model
from data import labels
from data.console import InputError
from demo import likeness
from init_model import checkpoints, codes, pack
from tests import draw_faces
from tests.conftest import GOLDEN, TINY
from tests.test_face_aging import assert_same, weights_of
from tests.test_init_model import edit_manifest

pytestmark = pytest.mark.usefixtures('no_init_model', 'eagerly')
L, Z = 10, 50


def random_codes(counts):
    """Return codes, groups and genders of so many faces of each cell [L, 2], means apart."""
    random = np.random.RandomState(0)
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
    counts[:, 1] = 0
    z, groups, genders, _ = random_codes(counts)
    found = codes.measure(z, groups, genders, L)
    np.testing.assert_array_equal(found.mean[:, 1], found.mean[:, 0])  # the other stands in


def test_fewer_faces_than_components():
    z, groups, genders, _ = random_codes(np.eye(L, 2, dtype=int) * 3)
    found = codes.measure(z, groups, genders, L)
    assert np.linalg.eigvalsh(found.covariance).min() > 0
    same = codes.measure(np.zeros_like(z), groups, genders, L)
    assert np.linalg.eigvalsh(same.covariance).min() > 0
    with pytest.raises(InputError, match='take a data set'):
        codes.measure(z[:1], groups[:1], genders[:1], L)


def test_only_faces_to_train_on_and_at_most_so_many_of_a_cell(tiny, tmp_path, monkeypatch):
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
    expected = np.bincount(groups[free] * 2 + genders[free], minlength=2 * L)
    np.testing.assert_array_equal(found.count.ravel(), np.minimum(expected, 2))
    assert len(decoded) == found.count.sum() and not {*decoded} & {*paths[::3]}


# ------------------------------------------------------------------------------------ stored


E, OTHER_E = 64 * 'e', 64 * 'f'  # digests


def model_of(folder, digest=E):
    """Stands for a model whose weights are in a folder."""
    settings = {'weights_dir': str(folder), 'num_categories': L, 'num_z_channels': Z}
    return types.SimpleNamespace(**settings, digest=lambda: digest)


def read(folder, digest=E):
    return codes.of(model_of(folder, digest))


def store(folder, statistics, digest=E):
    codes.store(model_of(folder, digest), statistics)


def assert_equal(found, expected):
    for array, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array, other)


def of_E(arrays):
    return init_model.digest({name: x for name, x in arrays.items() if name.startswith('E_')})


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_digest_of_a_model(tiny):
    """It follows E alone, by names, shapes and values."""
    model = tiny(is_training=False)
    first = model.digest()
    assert first == of_E(weights_of(model)) == tiny(is_training=False).digest()
    model.named_variables['G_fc/b'].assign(np.ones(1024))
    assert model.digest() == first
    model.named_variables['E_fc/b'].assign(np.full(50, 1e-9))
    assert model.digest() != first
    a = np.arange(6, dtype=np.float32)
    digests = [{'a': a}, {'b': a}, {'a': a.reshape(2, 3)}, {'a': a[:3], 'b': a[3:]}]
    assert len({*map(init_model.digest, digests)}) == 4


def test_the_bundled_statistics_are_those_of_the_bundled_weights():
    """As they are loaded, from float16."""
    folder = os.path.dirname(init_model.__file__)
    digest = of_E(init_model.load(folder))
    assert read(folder, digest).count.sum() > 7000
    with pytest.raises(codes.OtherWeightsError):
        read(folder)


def test_with_packed_weights(packed):
    assert read(packed) is None
    names = {*contents(packed)}
    weights = init_model.load(str(packed))
    store(packed, some_codes())
    assert_equal(read(packed), some_codes())
    assert (packed / 'codes.npz').stat().st_size < 50_000
    assert_same(init_model.load(str(packed)), weights)
    store(packed, some_codes(1), OTHER_E)
    assert_equal(read(packed, OTHER_E), some_codes(1))
    with pytest.raises(codes.OtherWeightsError, match='packed are of other weights than those in'):
        read(packed)
    assert {*contents(packed)} == {*names, 'codes.npz'}
    # As they were packed before digests were stored.
    edit_manifest(packed, lambda manifest: manifest['files']['codes.npz'].pop('E_sha256'))
    assert_equal(read(packed), some_codes(1))


@pytest.fixture
def checkpoint(tiny):
    """The folder of a checkpoint of an untrained model."""
    model = tiny()
    model.save_checkpoint()
    return pathlib.Path(model.weights_dir)


def test_beside_a_checkpoint_which_stays_as_it_is(checkpoint):
    before = contents(checkpoint)
    assert read(checkpoint) is None
    store(checkpoint, some_codes())
    after = contents(checkpoint)
    assert len(after.pop('checkpoint_codes.npz')) < 50_000 and after == before
    assert_equal(read(checkpoint), some_codes())
    with pytest.raises(codes.OtherWeightsError) as error:
        read(checkpoint, OTHER_E)
    assert str(error.value) == (
        f'The statistics of codes in {checkpoint} are of other weights than those in use: make '
        f'them anew (python -m init_model.codes --savedir {checkpoint.parent}).'
    )
    assert codes.command('my runs/1/checkpoint') == f"{codes.COMMAND} --savedir 'my runs/1'"
    assert codes.command(os.path.dirname(init_model.__file__)) == f'{codes.COMMAND} --bundled'


@pytest.mark.parametrize(
    'change',
    [
        {'codes/mean': np.zeros([L, 2, Z + 1], np.float32)},
        {'codes/count': np.array([object()])},
        {'codes/count': np.full([L, 2], np.nan, np.float32)},
        {'E_sha256': np.zeros(31, np.uint8)},
    ],
)
def test_damaged_files_beside_a_checkpoint(checkpoint, monkeypatch, change):
    store(checkpoint, some_codes())
    path = checkpoint / codes.FILE
    with np.load(path) as arrays:
        np.savez(path, **{**arrays, **change})
    monkeypatch.setattr('pickle.load', lambda *_, **__: pytest.fail('unpickled'))
    cure = rf'anew \(python -m init_model\.codes --savedir {checkpoint.parent}\)\.$'
    with pytest.raises(InputError, match=cure):
        read(checkpoint)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=rf'is damaged.*{cure}'):
        read(checkpoint)


def test_inside_a_checkpoint_as_earlier_versions_stored_them(checkpoint, tiny):
    """They belong to the checkpoint that holds them; those beside it are newer."""
    found = checkpoints.read_newest(str(checkpoint), tiny().saved_variables())
    inside = dict(zip(codes.NAMES, some_codes(), strict=True))
    tensors = {**found.values, **inside, checkpoints.STATE: json.dumps(found.state)}
    checkpoints.save(str(checkpoint), 'model-0', tensors)
    assert tiny().load_checkpoint()
    assert_equal(read(checkpoint), some_codes())
    store(checkpoint, some_codes(1))
    assert_equal(read(checkpoint), some_codes(1))


def test_the_authors_weights_beside_the_bundled_ones(tiny, packed):
    """Neither has the other's statistics."""
    store(packed, some_codes())
    before = contents(packed)
    shutil.copytree(GOLDEN / 'tiny32' / 'checkpoint', packed, dirs_exist_ok=True)
    assert read(packed) is None
    store(packed, some_codes(1), OTHER_E)
    assert_equal(read(packed, OTHER_E), some_codes(1))
    assert before.items() <= contents(packed).items()


def test_a_training_that_goes_on_makes_them_anew(tiny, faces):
    """Those of the earlier weights are not used meanwhile, and no others are made in vain."""
    model = tiny()
    assert codes.of(model) is None  # fresh weights have no folder
    model.train(1, use_init_model=False)
    codes.complete(model)
    first = codes.of(model)
    assert first.count.sum() == len(labels.list_faces(str(faces), hold_out=True)[0])
    model.train(2)
    with pytest.raises(codes.OtherWeightsError):
        codes.of(model)
    codes.complete(model)
    assert not np.array_equal(codes.of(model).mean, first.mean)
    other = tiny()
    other.train(2)  # is finished
    other.dataset_name = 'nowhere'
    codes.complete(other)  # has nothing to do
    assert_equal(codes.of(other), codes.of(model))


def test_packing_takes_them_along(tiny, savedir, tmp_path):
    shutil.copytree(savedir, tmp_path / 'save')
    model, out = tiny(is_training=False), str(tmp_path / 'out')
    assert model.load_checkpoint()
    codes.store(model, some_codes())
    pack.pack(model, out)
    other = tiny(is_training=False)
    assert other.load_checkpoint(out)  # as float16 holds it
    assert_equal(codes.of(other), some_codes())
    os.remove(tmp_path / 'save' / 'checkpoint' / codes.FILE)
    pack.pack(model, out)
    assert codes.of(other) is None
    store(model.weights_dir, some_codes(), OTHER_E)
    with pytest.raises(codes.OtherWeightsError, match='are of other weights'):
        pack.pack(model, out)


@pytest.mark.parametrize('state', ['none', 'stale'])
def test_an_age_shift_needs_them(vivid, state):
    model = vivid()
    what = 'that an age shift needs are not in'
    if state == 'stale':
        store(model.weights_dir, some_codes(), OTHER_E)
        what = 'are of other weights than those in use'
    words = re.escape(f'python -m init_model.codes --savedir {model.save_dir}).')
    with pytest.warns(UserWarning, match=f'{what}.*{words} Ages show less without'):
        method = likeness.open_aging(model)
    assert (method.codes, method.age_shift) == (None, 0)
    assert likeness.open_aging(model, 0).codes is None
    with pytest.raises(InputError, match=f'{what}.*{words}$') as error:
        likeness.open_aging(model, 0.5)
    assert error.value.cure == {'age_shift': 0} and '--age_shift' not in str(error.value)
    codes.store(model, some_codes())
    assert_equal(likeness.open_aging(model).codes, some_codes())


@pytest.fixture
def program(faces, packed, monkeypatch):
    """The program with a tiny model, on made-up faces, as a function of its words."""
    make = face_aging.FaceAging
    monkeypatch.setattr(face_aging, 'FaceAging', lambda **settings: make(**{**TINY, **settings}))
    monkeypatch.setattr(face_aging, 'INIT_MODEL', str(packed))
    monkeypatch.chdir(faces.parent)
    return lambda *words: codes.main(['--datadir', '.', '--dataset', 'faces', *words])


def test_the_program(vivid, faces, program, capsys):
    model = vivid()
    program('--savedir', 'save')
    count = len(labels.list_faces(str(faces), hold_out=True)[0])
    assert codes.of(model).count.sum() == count
    text = f'save/checkpoint has the statistics of the codes of {count} faces.'
    assert text in capsys.readouterr().out
    with pytest.raises(SystemExit, match='no folder'):
        program('--dataset', 'nowhere')


def test_the_program_writes_beside_the_bundled_weights_only_if_asked(tiny, program, packed):
    before = contents(packed)
    for words in ([], ['--savedir', 'mine']):
        with pytest.raises(SystemExit, match=r'There is no checkpoint in (save|mine)/checkpoint'):
            program(*words)
    assert contents(packed) == before
    program('--bundled')
    model = tiny(is_training=False)
    assert model.load_checkpoint(str(packed)) and codes.of(model).count.sum() > 0

"""The weights to start from: packing, opening, refusing."""

import hashlib
import io
import json
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

import face_aging
import init_model
from data import console
from init_model import checkpoints, pack
from tests.conftest import GOLDEN, TINY, pack_into
from tests.test_face_aging import assert_same, weights_of

pytestmark = pytest.mark.usefixtures('no_init_model', 'eagerly')


def checkpoint_of(savedir):
    reader = tf.train.load_checkpoint(str(savedir / 'checkpoint' / 'model-4'))
    names = reader.get_variable_to_shape_map()
    return {name: reader.get_tensor(name) for name in names}


def edit_manifest(folder, change):
    manifest = json.loads((folder / 'manifest.json').read_text())
    change(manifest)
    (folder / 'manifest.json').write_text(json.dumps(manifest))


def replace_file(folder, name, data):
    """Put other bytes into a file, and their sum into the manifest."""
    (folder / name).write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    edit_manifest(folder, lambda manifest: manifest['files'][name].update(sha256=sha256))


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# ----------------------------------------------------------------------------------- packing


def test_round_trip(tiny, savedir, packed):
    """All four networks come back as their float16 values, into a model too."""
    model = tiny()
    weights = init_model.load(packed)
    assert weights.keys() == model.named_variables.keys()
    checkpoint = checkpoint_of(savedir)
    rounded = {name: checkpoint[name].astype(np.float16).astype(np.float32) for name in weights}
    assert_same(weights, rounded)
    with np.load(packed / 'E.npz', allow_pickle=False) as arrays:
        assert {array.dtype for array in arrays.values()} == {np.dtype(np.float16)}
    assert model.load_checkpoint(str(packed))
    assert_same(weights_of(model), rounded)


def test_manifest(savedir, packed, drawn_faces):
    manifest = json.loads((packed / 'manifest.json').read_text())
    files = manifest.pop('files')
    assert TINY.items() < manifest.pop('sizes').items()
    assert manifest == {
        'format': 1,
        'epochs': 2,
        'steps': 4,
        'weights': [0.0001, 0, 0],
        'faces': 14,
        'age_upper': [5, 10, 15, 20, 30, 40, 50, 60, 70],
        'dataset': drawn_faces.name,
        'batch_size': 4,
        'seed': 2017,
        'precision': 'float32',
    }
    for name, file in files.items():
        data = (packed / name).read_bytes()
        assert (file['bytes'], file['sha256']) == (len(data), hashlib.sha256(data).hexdigest())
    assert files['E.npz']['shapes']['E_fc/w'] == [512, 50]
    assert '"E_fc/w": [512, 50]' in (packed / 'manifest.json').read_text()
    assert (packed / 'history.csv').read_bytes() == (savedir / 'history.csv').read_bytes()


def test_the_same_bytes_again(savedir, packed, tmp_path, monkeypatch):
    monkeypatch.setattr('time.time', lambda: 1e9)  # of another day
    pack_into(savedir, tmp_path / 'again')
    assert contents(tmp_path / 'again') == contents(packed)


def test_command_line(savedir, tmp_path, capsys):
    pack.main([str(savedir), '--out', str(tmp_path / 'out')])
    assert re.search(r'Packed epoch 2, step 4 into .*out\.\n', capsys.readouterr().out)
    with pytest.raises(SystemExit, match=r'There is no checkpoint in .*nowhere') as error:
        pack.main([str(tmp_path / 'nowhere')])
    assert '\n' not in error.value.code.strip()


@pytest.mark.parametrize('upper', [(9, 18, 50), tuple(range(6, 60, 6))])
def test_sizes_and_age_groups_are_packed(tiny, faces, tmp_path, upper):
    tiny(age_upper=upper, num_z_channels=20, size_batch=7).train(num_epochs=1)
    pack_into(tmp_path / 'save', tmp_path / 'out')
    model = tiny(is_training=False)
    assert model.load_checkpoint(str(tmp_path / 'out'))
    assert (model.age_upper, model.num_z_channels) == (upper, 20)
    if len(upper) == 9:  # so that all shapes are as usual
        with pytest.raises(console.InputError, match='is of age groups up to 6,12,18'):
            tiny(num_z_channels=20).load_checkpoint(str(tmp_path / 'out'))


@pytest.mark.parametrize('value', [1e6, -np.inf])
def test_what_float16_cannot_hold_is_named(savedir, packed, tmp_path, value):
    """And nothing is overwritten."""
    bad, before = shutil.copytree(savedir, tmp_path / 'bad'), contents(packed)
    tensors = checkpoint_of(savedir)
    tensors['G_fc/b'][3] = value
    checkpoints.save(str(bad / 'checkpoint'), 'model-4', tensors)
    with pytest.raises(console.InputError, match='G_fc/b is not finite in float16'):
        pack_into(bad, packed)
    assert contents(packed) == before


def test_a_failure_overwrites_nothing(savedir, packed, tmp_path, monkeypatch):
    """Not even E, which is written before the failure."""
    other, before = shutil.copytree(savedir, tmp_path / 'other'), contents(packed)
    tensors = checkpoint_of(savedir)
    tensors['E_conv0/b'] += 1
    checkpoints.save(str(other / 'checkpoint'), 'model-4', tensors)
    write = np.savez

    def fail(path, **arrays):
        if str(path).endswith('D_img.npz'):
            raise OSError(28, 'No space left on device')
        write(path, **arrays)

    monkeypatch.setattr(np, 'savez', fail)
    with pytest.raises(OSError, match='No space left'):
        pack_into(other, packed)
    assert contents(packed) == before
    monkeypatch.undo()
    pack_into(other, packed)
    assert contents(packed)['E.npz'] != before['E.npz']


def test_a_checkpoint_of_another_program_is_not_packed(tmp_path):
    shutil.copytree(GOLDEN / 'tiny32' / 'checkpoint', tmp_path / 'save' / 'checkpoint')
    with pytest.raises(console.InputError, match='model-init is of no training by this program'):
        pack_into(tmp_path / 'save', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


# ----------------------------------------------------------------------------------- opening


def damage(change):
    """A function that changes the bytes of a file, and not the manifest."""
    return lambda folder, name: (folder / name).write_bytes(change((folder / name).read_bytes()))


def as_npz(save=np.savez, **arrays):
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    ('harm', 'fault'),
    [
        (
            damage(lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:]),
            'damaged (its SHA-256 is not the one in the manifest)',
        ),
        (damage(lambda data: b''), 'damaged (its SHA-256 is not the one in the manifest)'),
        (lambda folder, name: (folder / name).unlink(), 'missing'),
    ],
    ids=['changed', 'empty', 'missing'],
)
@pytest.mark.parametrize('name', init_model.FILES)
def test_damage_is_named_and_nothing_loaded(tiny, packed, name, harm, fault):
    harm(packed, name)
    model = tiny()
    before = weights_of(model)
    with pytest.raises(console.InputError) as error:
        model.load_checkpoint(str(packed))
    assert str(error.value) == f'{packed}/{name} is {fault}: {init_model.CURE}'
    assert 'git checkout init_model' in init_model.CURE and '\n' not in str(error.value)
    assert_same(before, weights_of(model))


@pytest.mark.parametrize(
    'change',
    [
        lambda arrays: b'cos\nsystem\n(S"true"\ntR.' * 20_000,
        lambda arrays: b'no zip',
        lambda arrays: as_npz(**{**arrays, 'D_z_fc3/b': np.array([object()])}),
        lambda arrays: as_npz(**{**arrays, 'D_z_fc3/b': np.array(['text'])}),
    ],
    ids=['pickle', 'short', 'pickled array', 'text'],
)
def test_hostile_files_whose_sum_is_right(packed, change, monkeypatch):
    """Nothing is unpickled."""
    with np.load(packed / 'D_z.npz') as arrays:
        data = change(dict(arrays))
    replace_file(packed, 'D_z.npz', data)
    monkeypatch.setattr('pickle.load', lambda *_, **__: pytest.fail('unpickled'))
    with pytest.raises(console.InputError, match=r'packed/D_z\.npz is damaged \('):
        init_model.load(packed)


def rename(name, other):
    return lambda manifest: manifest['files'].update({other: manifest['files'].pop(name)})


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda manifest: manifest.clear(), 'format, epochs or files are missing'),
        (lambda manifest: manifest.update(format=2), 'its format is 2, not 1'),
        (lambda manifest: manifest.update(files=[]), 'format, epochs or files are missing'),
        (lambda manifest: manifest['files'].pop('G.npz'), 'its files are not E.npz, G.npz, D_z'),
        (rename('E.npz', '../E.npz'), 'its files are not E.npz, G.npz, D_z'),
        (lambda manifest: manifest['files']['E.npz'].pop('sha256'), 'sha256 of a file is missing'),
        (lambda manifest: manifest.update(age_upper=7), 'its age_upper cannot be read'),
        (lambda manifest: manifest.update(sizes=7), 'its sizes cannot be read'),
    ],
)
def test_a_damaged_manifest_is_named(packed, change, message):
    shutil.copy(packed / 'E.npz', packed.parent)  # where '../E.npz' would lead
    edit_manifest(packed, change)
    with pytest.raises(console.InputError) as error:
        init_model.load(packed)
    assert str(error.value).startswith(f'{packed}/manifest.json is damaged (')
    assert message in str(error.value) and str(error.value).endswith(init_model.CURE)


@pytest.mark.parametrize('text', [b'', b'{"format": 1', b'\xff\xfe', b'[' * 100_000])
def test_a_manifest_that_is_no_json(packed, text):
    (packed / 'manifest.json').write_bytes(text)
    with pytest.raises(console.InputError, match=r'manifest\.json is damaged \(.*\): restore it'):
        init_model.load(packed)


# ------------------------------------------------------------------------------- starting from it


def test_training_starts_from_it(tiny, faces, packed, monkeypatch, capsys):
    monkeypatch.setattr(face_aging, 'INIT_MODEL', str(packed))
    model = tiny()
    model.train(num_epochs=1, learning_rate=0)
    assert_same(weights_of(model), init_model.load(packed))
    out = capsys.readouterr().out
    assert f'Restored {packed}, epoch 2, weights only' in out
    assert 'Training from epoch 1 to 1' in out
    other = tiny(save_dir=str(faces.parent / 'other'))
    other.train(num_epochs=1, learning_rate=0, use_init_model=False)
    assert_same(weights_of(other), weights_of(tiny()))


def test_a_checkpoint_in_the_folder_comes_first(tiny, packed):
    shutil.copytree(GOLDEN / 'tiny32' / 'checkpoint', packed, dirs_exist_ok=True)
    model, expected = tiny(), tiny()
    assert model.load_checkpoint(str(packed))
    assert expected.load_checkpoint(str(GOLDEN / 'tiny32' / 'checkpoint'))
    assert_same(weights_of(model), weights_of(expected))

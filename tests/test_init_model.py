"""The weights to start from: packing, opening, refusing."""

import csv
import hashlib
import io
import json
import os
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

import face_aging
import init_model
from data import console, limits
from init_model import pack
from tests.conftest import GOLDEN, TINY
from tests.test_face_aging import assert_same, weights_of

pytestmark = [
    pytest.mark.usefixtures('no_init_model', 'eagerly'),
    pytest.mark.filterwarnings('ignore:Even though the `tf.config'),
]
FLAGS = """# an older call
--dataset=other
--batch_size=9
# the last one
--dataset=/somewhere/faces
--batch_size=4
--learning_rate=0.0002
--seed=2017
--precision=float32
--balance=0.5
"""


@pytest.fixture(scope='module')
def savedir(tmp_path_factory, drawn_faces):
    """The save_dir of two epochs of two steps, the second interrupted once; not to be changed."""
    folder = tmp_path_factory.mktemp('training') / 'save'
    settings = {
        **TINY,
        'size_batch': 4,
        'save_dir': str(folder),
        'data_dir': str(drawn_faces.parent),
        'dataset_name': drawn_faces.name,
    }
    tf.config.run_functions_eagerly(True)
    face_aging.FaceAging(**settings).train(1, use_init_model=False)
    model = face_aging.FaceAging(**settings)
    model.save_checkpoint = lambda: None  # the run is lost before it gets here
    model.train(2, use_init_model=False)
    model = face_aging.FaceAging(**settings)
    model.train(2, use_init_model=False)
    (folder / 'flags.txt').write_text(FLAGS)
    return folder


@pytest.fixture(scope='module')
def packed_once(savedir, tmp_path_factory):
    out = tmp_path_factory.mktemp('packed')
    pack.pack(savedir, out, commit='c0ffee', hardware='an abacus')
    return out


@pytest.fixture
def packed(packed_once, tmp_path):
    """A folder of packed weights, to be damaged at will."""
    return shutil.copytree(packed_once, tmp_path / 'packed')


def checkpoint_of(savedir):
    reader = tf.train.load_checkpoint(str(savedir / 'checkpoint' / 'model-4'))
    names = reader.get_variable_to_shape_map()
    return {name: reader.get_tensor(name) for name in names}


def save_checkpoint(folder, tensors, name='model-4'):
    folder.mkdir(parents=True, exist_ok=True)
    tf.raw_ops.SaveV2(
        prefix=str(folder / name),
        tensor_names=list(tensors),
        shape_and_slices=[''] * len(tensors),
        tensors=list(tensors.values()),
    )
    (folder / 'checkpoint').write_text(f'model_checkpoint_path: "{name}"\n')


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
    assert all(value.dtype == np.float32 for value in weights.values())
    assert model.load_checkpoint(str(packed))
    assert_same(weights_of(model), rounded)


def test_numpy_opens_the_files(packed):
    for network in ('E', 'G', 'D_z', 'D_img'):
        with np.load(packed / f'{network}.npz', allow_pickle=False) as arrays:
            assert all(name.startswith(f'{network}_') for name in arrays)
            assert list(arrays) == sorted(arrays)  # in whatever order the checkpoint has them
            assert {array.dtype for array in arrays.values()} == {np.dtype(np.float16)}
    with np.load(packed / 'D_z.npz', allow_pickle=False) as arrays:
        assert {'D_z_bn0/beta', 'D_z_bn0/moving_mean', 'D_z_bn0/moving_variance'} <= set(arrays)


def test_manifest(savedir, packed, drawn_faces):
    manifest = json.loads((packed / 'manifest.json').read_text())
    files = manifest.pop('files')
    losses, wall_time = manifest.pop('losses'), manifest.pop('wall_time_seconds')
    assert manifest == {
        'format': 1,
        'epochs': 2,
        'steps': 4,
        'faces': 14,
        'dataset': 'faces',  # of its path only the name
        'batch_size': 4,
        'learning_rates': [0.0002, 0.0002],
        'seed': 2017,
        'precision': 'float32',
        'balance': 0.5,
        'weights': [0.0001, 0, 0],
        'commit': 'c0ffee',
        'hardware': 'an abacus',
        'sizes': {
            **TINY,
            'size_kernel': 5,
            'num_input_channels': 3,
            'num_z_channels': 50,
            'enable_tile_label': True,
            'tile_ratio': 1.0,
        },
    }
    assert wall_time >= 0 and losses.keys() == set(pack.PACKED_LOSSES)
    for name, file in files.items():
        data = (packed / name).read_bytes()
        assert (file['bytes'], file['sha256']) == (len(data), hashlib.sha256(data).hexdigest())
    assert files['E.npz']['shapes']['E_fc/w'] == [512, 50]
    assert '"E_fc/w": [512, 50]' in (packed / 'manifest.json').read_text()


def test_the_same_bytes_again(savedir, packed, tmp_path, monkeypatch):
    monkeypatch.setattr('time.time', lambda: 1e9)  # of another day
    pack.pack(savedir, tmp_path / 'again', commit='c0ffee', hardware='an abacus')
    assert contents(tmp_path / 'again') == contents(packed)


def test_command_line(savedir, tmp_path, capsys):
    pack.main([str(savedir), '--out', str(tmp_path / 'out')])
    assert re.search(r'Packed epoch 2, step 4 into .*out:\n\tE\.npz +\d', capsys.readouterr().out)
    manifest = json.loads((tmp_path / 'out' / 'manifest.json').read_text())
    assert manifest['commit'] is None or re.fullmatch('[0-9a-f]{40}', manifest['commit'])
    assert f'{limits.cpu_count()} cores' in manifest['hardware']
    with pytest.raises(SystemExit, match=r'There is no checkpoint in .*nowhere') as error:
        pack.main([str(tmp_path / 'nowhere')])
    assert '\n' not in error.value.code.strip()


def test_history_file(savedir, packed):
    """Of the interrupted epoch what the last run wrote: there the losses of the checkpoint."""
    with open(packed / 'history.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ['epoch', 'step', *pack.COLUMNS]
    assert [(row['epoch'], row['step']) for row in rows] == [('1', '2'), ('2', '4')]
    manifest = json.loads((packed / 'manifest.json').read_text())
    assert {name: float(rows[1][name]) for name in pack.PACKED_LOSSES} == manifest['losses']


@pytest.mark.parametrize(
    'change',
    [
        lambda text: text.replace('EG_learning_rate', 'other'),
        lambda text: '\n'.join(text.splitlines()[:2]),  # without the last epoch
        lambda text: text.replace(',2,', ',two,'),
        lambda text: '',
        None,
    ],
)
def test_a_history_that_lacks_something(savedir, tmp_path, change):
    shutil.copytree(savedir, tmp_path / 'save')
    path = tmp_path / 'save' / 'history.csv'
    if change:
        path.write_text(change(path.read_text()))
    else:
        path.unlink()
    message = (
        r'history\.csv does not show all of 2 epochs up to step 4: copy the complete --savedir'
    )
    with pytest.raises(console.InputError, match=message):
        pack.pack(tmp_path / 'save', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_a_history_after_pre_training(tmp_path):
    """Steps go on, epochs begin anew; what follows the checkpoint does not count."""
    rows = [(1, 1, 9), (1, 2, 2), (2, 3, 3), (3, 4, 9)]  # epoch, step, loss
    lines = [['epoch', 'step', 'seconds', *pack.COLUMNS]]
    lines += [[epoch, step, 10, *[loss] * len(pack.COLUMNS)] for epoch, step, loss in rows]
    with open(tmp_path / 'history.csv', 'w', newline='') as file:
        csv.writer(file).writerows(lines)
    history, seconds = pack.read_history(str(tmp_path / 'history.csv'), epochs=2, steps=3)
    assert [(row['epoch'], row['step'], row['EG_loss']) for row in history] == [
        (1, 2, 2),
        (2, 3, 3),
    ]
    assert seconds == 30


def test_age_groups_are_packed(tiny, faces, tmp_path):
    """Ten of them as ever, but with other limits, so that all shapes are as usual."""
    upper = tuple(range(6, 60, 6))
    tiny(age_upper=upper).train(num_epochs=1)
    manifest = pack.pack(tmp_path / 'save', tmp_path / 'out')
    assert manifest['age_upper'] == list(upper)
    assert tiny(age_upper=upper).load_checkpoint(str(tmp_path / 'out'))
    with pytest.raises(console.InputError, match='is of age groups up to 6,12,18'):
        tiny().load_checkpoint(str(tmp_path / 'out'))


def test_the_mean_of_checkpoints(savedir, tmp_path):
    """Of E and G; the discriminators are the newest ones."""
    newest, others = checkpoint_of(savedir), []
    for i in (1, 2):
        earlier = {n: x + i if n[:2] in ('E_', 'G_', 'D_') else x for n, x in newest.items()}
        save_checkpoint(tmp_path / str(i), earlier)
        others.append(str(tmp_path / str(i)))
    manifest = pack.pack(savedir, tmp_path / 'out', mean_of=others)
    assert manifest['mean_of_steps'] == [4, 4, 4]
    weights = init_model.load(tmp_path / 'out')
    for name, array in weights.items():
        mean = newest[name] + (1 if name[:2] in ('E_', 'G_') else 0)
        np.testing.assert_allclose(array, mean, atol=2e-3)
    save_checkpoint(tmp_path / '3', {**newest, 'E_conv0/w': np.zeros([1, 1, 3, 4], np.float32)})
    with pytest.raises(console.InputError, match='3 holds other networks than'):
        pack.pack(savedir, tmp_path / 'out', mean_of=[str(tmp_path / '3')])


@pytest.mark.parametrize(('value', 'shown'), [(1e6, '1e.06'), (np.nan, 'nan'), (-np.inf, 'inf')])
def test_what_float16_cannot_hold_is_named(savedir, packed, tmp_path, value, shown):
    tensors = checkpoint_of(savedir)
    tensors['G_fc/b'][3] = value
    bad = tmp_path / 'bad'
    save_checkpoint(bad / 'checkpoint', tensors)
    before = contents(packed)
    with pytest.raises(
        console.InputError, match=f'G_fc/b in the newest .*bad/checkpoint is not .* up to {shown}'
    ):
        pack.pack(bad, packed)
    assert contents(packed) == before


def test_a_failure_overwrites_nothing(savedir, packed, tmp_path, monkeypatch):
    """Not even E, which is written before the failure."""
    tensors = checkpoint_of(savedir)
    tensors['E_conv0/b'] += 1
    shutil.copytree(savedir, tmp_path / 'other')
    save_checkpoint(tmp_path / 'other' / 'checkpoint', tensors)
    before = contents(packed)
    monkeypatch.setattr(init_model, 'MAX_BYTES', 500_000)  # E, G and D_z fit
    with pytest.raises(
        console.InputError, match=r'D_img takes [\d,]+ bytes, but a file at most 500,000'
    ):
        pack.pack(tmp_path / 'other', packed)
    assert contents(packed) == before
    monkeypatch.undo()
    pack.pack(tmp_path / 'other', packed)
    assert contents(packed)['E.npz'] != before['E.npz']


def test_checkpoints_that_cannot_be_packed(savedir, tmp_path):
    foreign = tmp_path / 'foreign'
    shutil.copytree(GOLDEN / 'tiny32' / 'checkpoint', foreign / 'checkpoint')
    with pytest.raises(
        console.InputError, match='model-init cannot be read as a checkpoint of this'
    ):
        pack.pack(foreign, tmp_path / 'out')
    shutil.copytree(savedir, tmp_path / 'damaged')
    (tmp_path / 'damaged' / 'checkpoint' / 'model-4.index').write_bytes(b'garbage')
    with pytest.raises(console.InputError, match='model-4 cannot be read as a checkpoint of this'):
        pack.pack(tmp_path / 'damaged', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('left_out', 'flags', 'message'),
    [
        (('history.csv',), '', r'does not show all of 2 epochs up to step 4: copy the complete'),
        ((), '--batch_size=many', r'flags\.txt was edited \(.*many.*\): restore or remove it'),
        ((), '--seed=', r'flags\.txt was edited'),
    ],
)
def test_copies_that_cannot_be_packed(savedir, tmp_path, left_out, flags, message):
    copy = shutil.copytree(savedir, tmp_path / 'copy', ignore=shutil.ignore_patterns(*left_out))
    (copy / 'flags.txt').write_text(flags)
    with pytest.raises(console.InputError, match=message):
        pack.pack(copy, tmp_path / 'out')


def test_a_moved_training_can_be_packed(savedir, tmp_path):
    shutil.copytree(savedir, tmp_path / 'moved')
    listing = tmp_path / 'moved' / 'checkpoint' / 'checkpoint'
    listing.write_text('model_checkpoint_path: "/no/longer/model-2"\n')
    assert pack.pack(tmp_path / 'moved', tmp_path / 'out')['epochs'] == 1


# ----------------------------------------------------------------------------------- opening


def damage(change):
    """A function that changes the bytes of a file, and not the manifest."""
    return lambda folder, name: (folder / name).write_bytes(change((folder / name).read_bytes()))


def as_npz(save=np.savez, **arrays):
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    ('harm', 'message'),
    [
        (
            damage(lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:]),
            'its SHA-256 is not the one',
        ),
        (damage(lambda data: data[:-100]), 'its SHA-256 is not the one'),
        (damage(lambda data: b''), 'its SHA-256 is not the one'),
        (damage(lambda data: as_npz(x=np.zeros(3))), 'its SHA-256 is not the one'),
        (lambda folder, name: (folder / name).unlink(), None),
    ],
    ids=['changed', 'truncated', 'empty', 'foreign', 'missing'],
)
@pytest.mark.parametrize('name', init_model.FILES)
def test_damage_is_named_and_nothing_loaded(tiny, packed, name, harm, message):
    harm(packed, name)
    model = tiny()
    before = weights_of(model)
    with pytest.raises(console.InputError) as error:
        model.load_checkpoint(str(packed))
    what = f'is damaged ({message} in manifest.json)' if message else 'is missing'
    assert str(error.value) == f'{packed}/{name} {what}: {init_model.CURE}'
    assert 'git checkout init_model' in init_model.CURE and '\n' not in str(error.value)
    assert_same(before, weights_of(model))


BOMB = b"\x93NUMPY\x01\x00v\x00{'descr': '<f2', 'fortran_order': False, 'shape': (9000000000000,)}"


def with_header(data, name, header):
    """An .npz file in which a variable has another header, padded as NumPy pads it."""
    arrays = np.load(io.BytesIO(data))
    file = io.BytesIO()
    with init_model.zipfile.ZipFile(file, 'w') as archive:
        for key, array in arrays.items():
            entry = io.BytesIO()
            np.lib.format.write_array(entry, array)
            text = entry.getvalue()
            if key == name:
                text = header.ljust(127) + b'\n' + text[128:]
            archive.writestr(f'{key}.npy', text)
    return file.getvalue()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda arrays: b'cos\nsystem\n(S"true"\ntR.' * 20_000, r'not a zip file'),
        (lambda arrays: b'no zip', r'it is smaller than its shapes'),
        (lambda arrays: as_npz(**{**arrays, 'more': np.zeros(1)}), r'its variables are not those'),
        (
            lambda arrays: as_npz(**{**arrays, 'D_z_fc3/b': np.array([object()])}),
            r'D_z_fc3/b is object \[1\], not float16 \[1\]',
        ),
        (
            lambda arrays: as_npz(**{**arrays, 'D_z_fc3/b': np.zeros(1)}),
            r'D_z_fc3/b is float64 \[1\], not float16 \[1\]',
        ),
        (
            lambda arrays: as_npz(**{**arrays, 'D_z_fc3/b': np.zeros(5, np.float16)}),
            r'D_z_fc3/b is float16 \[5\], not float16 \[1\]',
        ),
        (
            lambda arrays: with_header(as_npz(**arrays), 'D_z_fc3/b', BOMB),
            r'D_z_fc3/b is float16 \[9000000000000\], not float16 \[1\]',
        ),
        (
            lambda arrays: as_npz(
                np.savez_compressed, **{**arrays, 'D_z_fc0/w': np.zeros([2**13, 2**12], np.float16)}
            ),
            r'D_z_fc0/w is float16 \[8192, 4096\], not float16 \[50, 64\]|smaller than its shapes',
        ),
    ],
    ids=['pickle', 'short', 'more', 'pickled array', 'float64', 'shape', 'huge header', 'zip bomb'],
)
def test_hostile_files_whose_sum_is_right(packed, change, message, monkeypatch):
    """Refused by their headers: no array is made of them, nothing is unpickled."""
    with np.load(packed / 'D_z.npz') as arrays:
        data = change(dict(arrays))
    replace_file(packed, 'D_z.npz', data)
    monkeypatch.setattr('pickle.load', lambda *_, **__: pytest.fail('unpickled'))
    with pytest.raises(
        console.InputError, match=rf'packed/D_z\.npz is damaged \((File is )?{message}'
    ):
        init_model.load(packed)


def test_no_more_is_read_than_a_file_may_have(packed, monkeypatch):
    monkeypatch.setattr(init_model, 'MAX_BYTES', 100_000)
    with pytest.raises(
        console.InputError, match=r'G\.npz is damaged \(it is larger than 100,000 bytes'
    ):
        init_model.load(packed)


def rename(name, other):
    return lambda manifest: manifest['files'].update({other: manifest['files'].pop(name)})


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda manifest: manifest.clear(), 'format, epochs or files are missing'),
        (lambda manifest: manifest.pop('epochs'), 'format, epochs or files are missing'),
        (lambda manifest: manifest.update(format=2), 'its format is 2, not 1'),
        (lambda manifest: manifest.update(files=[]), 'format, epochs or files are missing'),
        (lambda manifest: manifest['files'].pop('G.npz'), 'its files are not E.npz, G.npz, D_z'),
        (rename('E.npz', '../E.npz'), 'its files are not E.npz, G.npz, D_z'),
        (rename('E.npz', '/etc/E.npz'), 'its files are not E.npz, G.npz, D_z'),
        (lambda manifest: manifest['files']['E.npz'].pop('sha256'), 'of E.npz are missing'),
        (
            lambda manifest: manifest['files']['G.npz']['shapes'].update({'G_fc/b': [-1]}),
            'of G.npz are missing',
        ),
        (
            lambda manifest: manifest['files']['G.npz']['shapes'].update({'G_fc/b': ['1']}),
            'of G.npz are missing',
        ),
    ],
)
def test_a_damaged_manifest_is_named(packed, change, message):
    shutil.copy(
        packed / 'E.npz', packed.parent
    )  # so that the way out of the folder leads somewhere
    edit_manifest(packed, change)
    with pytest.raises(console.InputError) as error:
        init_model.load(packed)
    assert str(error.value).startswith(f'{packed}/manifest.json is damaged (')
    assert message in str(error.value) and str(error.value).endswith(init_model.CURE)


@pytest.mark.parametrize('text', [b'', b'{"format": 1', b'\xff\xfe', b'[' * 100_000])
def test_a_manifest_that_is_no_json(packed, text):
    (packed / 'manifest.json').write_bytes(text)
    with pytest.raises(console.InputError, match=r'manifest\.json is damaged \(it is no JSON\): '):
        init_model.load(packed)


def test_a_missing_manifest(tiny, packed):
    (packed / 'manifest.json').unlink()
    with pytest.raises(console.InputError, match=r'packed/manifest\.json is missing: restore it'):
        tiny().load_checkpoint(str(packed))


# ------------------------------------------------------------------------------- starting from it


def test_another_shape_is_named_and_nothing_loaded(tiny, packed):
    model = tiny(num_z_channels=20)
    before = weights_of(model)
    with pytest.raises(console.InputError, match=r'packed.*num_z_channels is 50 there, 20 here'):
        model.load_checkpoint(str(packed))
    assert_same(before, weights_of(model))


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


def test_testing_falls_back_to_it(tiny, faces, packed, monkeypatch, capsys):
    monkeypatch.setattr(face_aging, 'INIT_MODEL', str(packed))
    monkeypatch.chdir(faces.parent)
    model = tiny(is_training=False, save_dir='save')
    model.custom_test(str(faces))
    assert 'Loading init model ...' in capsys.readouterr().out
    assert_same(weights_of(model), init_model.load(packed))
    assert os.path.exists(os.path.join(model.save_dir, 'test', 'test_as_male.png'))


def test_a_checkpoint_in_the_folder_comes_first(tiny, packed):
    shutil.copytree(GOLDEN / 'tiny32' / 'checkpoint', packed, dirs_exist_ok=True)
    model, expected = tiny(), tiny()
    assert model.load_checkpoint(str(packed))
    assert expected.load_checkpoint(str(GOLDEN / 'tiny32' / 'checkpoint'))
    assert_same(weights_of(model), weights_of(expected))


def test_damage_ends_the_program_in_one_sentence(tiny_main, faces, packed, monkeypatch, tmp_path):
    monkeypatch.setattr(face_aging, 'INIT_MODEL', str(packed))
    (packed / 'G.npz').write_bytes(b'damaged')
    monkeypatch.chdir(tmp_path)
    words = ['--is_train', 'False', '--testdir', faces]
    with pytest.raises(SystemExit, match=r'G\.npz is damaged .* restore it \(git') as error:
        tiny_main(*words)
    assert '\n' not in error.value.code.strip()
    assert not (tmp_path / 'save' / 'test').exists()

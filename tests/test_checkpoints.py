"""Checkpoints: written at once or not at all, restored whole or refused."""

import contextlib
import errno
import os
import shutil
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from data import console
from init_model import checkpoints, settings
from tests.test_face_aging import assert_same, weights_of

pytestmark = pytest.mark.usefixtures('no_init_model')


class Killed(BaseException):
    """Stands for the end of a process."""


def killed_at_any_moment(monkeypatch):
    """Yield contexts in which a process is killed, each one change to the disk later.

    The last one is that in which it was not killed.
    """
    for last in range(100):
        calls = []

        def dying(function, calls=calls, last=last):
            def call(*args, **settings):
                if len(calls) == last:
                    raise Killed
                calls.append(function)
                return function(*args, **settings)

            return call

        @contextlib.contextmanager
        def killed(dying=dying):
            with monkeypatch.context() as patch, contextlib.suppress(Killed):
                for function in ('replace', 'fsync', 'remove', 'makedirs'):
                    patch.setattr(os, function, dying(getattr(os, function)))
                patch.setattr(shutil, 'rmtree', lambda *_, **__: None)  # nor does it clean up
                yield

        yield killed()
        if len(calls) < last:
            break
    assert last > 5


@pytest.mark.parametrize('name', ['model-3', 'model-2', 'model-1'])  # new, the newest, the only
def test_a_save_killed_at_any_moment_leaves_one_that_opens(tmp_path, monkeypatch, name):
    """Each change to the disk is once the last one."""
    folder = str(tmp_path)
    old, new = {'a': np.arange(3.0)}, {'a': np.arange(3.0) + 1}
    for killed in killed_at_any_moment(monkeypatch):
        shutil.rmtree(folder)
        checkpoints.save(folder, 'model-1', old)
        kept = []
        if name != 'model-1':
            checkpoints.save(folder, 'model-2', old, ['model-1'])
            kept = ['model-2' if name == 'model-3' else 'model-1']
        with killed:
            checkpoints.save(folder, name, new, kept)
        if name != 'model-1' or os.path.exists(os.path.join(folder, 'checkpoint')):
            with warnings.catch_warnings():
                warnings.simplefilter('error')  # of one that is damaged
                values = checkpoints.read_newest(folder, ['a']).values
            assert values['a'].tolist() in (old['a'].tolist(), new['a'].tolist())
        checkpoints.save(folder, 'model-4', new, kept)
        assert not os.path.exists(os.path.join(folder, checkpoints.ASIDE))


def damage(path, how):
    data = bytearray(path.read_bytes())
    if how == 'cut':
        path.write_bytes(data[: len(data) // 2])
    elif how == 'flip':
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        path.unlink()


@pytest.mark.usefixtures('eagerly')
@pytest.mark.parametrize('how', ['cut', 'flip', 'gone'])
@pytest.mark.parametrize('ending', ['index', 'data-00000-of-00001'])
def test_of_a_damaged_checkpoint_the_one_before_is_used(tiny, faces, capsys, how, ending):
    """If there is one that is not damaged; else nothing is restored."""
    tiny(checkpoint_steps=1).train(num_epochs=1)
    folder = faces.parent / 'save' / 'checkpoint'
    damage(folder / f'model-2.{ending}', how)
    model = tiny()
    with pytest.warns(UserWarning, match=r'model-2 cannot be read .* The one before it is used'):
        model.train(num_epochs=2)
    assert 'checkpoint/model-1, epoch 0, step 1' in capsys.readouterr().out
    assert model.run.step == 4
    names = {path.name.split('.')[0] for path in folder.iterdir()}
    assert names == {'checkpoint', 'model-1', 'model-2', 'model-4'}  # the third failed to open
    for name in ('model-1', 'model-4'):
        damage(folder / f'{name}.{ending}', how)
    model = tiny()
    before = weights_of(model)
    only_damaged = pytest.raises(console.InputError, match='save/checkpoint/model-1 cannot be read')
    with pytest.warns(UserWarning, match='model-4 cannot be read'), only_damaged:
        model.load_checkpoint()
    assert_same(before, weights_of(model))


@pytest.mark.parametrize(
    ('function', 'error'),
    [
        ('opened', MemoryError()),
        ('opened', tf.errors.ResourceExhaustedError(None, None, 'OOM when allocating')),
        # Of too many open files TensorFlow's reader would not tell that it is no damage.
        ('open', OSError(errno.EMFILE, os.strerror(errno.EMFILE), 'model-2.index')),
    ],
)
def test_a_passing_error_demotes_no_checkpoint(tiny, monkeypatch, function, error):
    model = tiny()
    for model.run.step in (1, 2):
        model.save_checkpoint()

    def fail(*_):
        raise error

    with monkeypatch.context() as patch, pytest.raises(type(error)):
        patch.setattr(checkpoints, function, fail, raising=False)
        tiny().load_checkpoint()
    other = tiny()
    assert other.load_checkpoint() and other.run.step == 2


@pytest.mark.usefixtures('eagerly')
def test_a_checkpoint_that_is_not_as_it_was_written(tiny, monkeypatch):
    model = tiny()
    model.save_checkpoint()
    before = model.named_variables['E_fc/b'].numpy()
    model.named_variables['E_fc/b'].assign(before + 1)
    write = tf.raw_ops.SaveV2

    def fail(tensors, **settings):
        write(tensors=[np.zeros_like(tensors[0]) + 7, *tensors[1:]], **settings)

    monkeypatch.setattr(tf.raw_ops, 'SaveV2', fail)
    model.run.step = 1
    with pytest.raises(console.InputError, match='was not written as it was'):
        model.save_checkpoint()
    assert tiny().load_checkpoint()


def test_a_full_disk_is_noticed_first(tiny, faces, monkeypatch):
    model = tiny()
    model.save_checkpoint()
    kept = sorted(os.listdir(os.path.join(model.save_dir, 'checkpoint')))
    full = shutil.disk_usage(faces)._replace(free=1000)
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: full)
    message = r'needs [\d,]{9,} bytes more, but its disk has only 1,000 free'
    model.run.step = 1
    with pytest.raises(console.InputError, match=message):
        model.save_checkpoint()
    assert sorted(os.listdir(os.path.join(model.save_dir, 'checkpoint'))) == kept
    model = tiny(save_dir=str(faces.parent / 'other'))
    with pytest.raises(console.InputError, match=message):
        model.train(num_epochs=1)
    assert model.run.step == 0  # before days of work


def test_other_settings_are_named_and_nothing_loaded(tiny):
    tiny().save_checkpoint()
    model = tiny(num_z_channels=20, enable_tile_label=False)
    before = weights_of(model)
    with pytest.raises(console.InputError) as error:
        model.load_checkpoint()
    assert 'num_z_channels is 50 there, 20 here' in str(error.value)
    assert 'enable_tile_label is True there, False here' in str(error.value)
    assert_same(before, weights_of(model))


@pytest.mark.parametrize(
    ('before', 'after'),
    [
        ('float32', 'mixed_bfloat16'),
        ('float32', 'mixed_float16'),  # begins a loss scale
        ('mixed_float16', 'float32'),  # drops it
    ],
)
def test_another_precision_goes_on(tiny, before, after):
    keras.config.set_dtype_policy(before)
    saved = tiny()
    keras.config.set_dtype_policy(after)
    model = tiny()
    keras.config.set_dtype_policy('float32')
    for variable in saved.optimizers[0].variables:
        if 'momentum' in variable.path:
            variable.assign(np.full(variable.shape, 0.5))
    saved.run.step = 3
    saved.save_checkpoint()
    with pytest.warns(UserWarning, match=f'was trained in {before} and goes on in {after}'):
        assert model.load_checkpoint()
    assert model.run.step == 3
    assert_same(weights_of(model), weights_of(saved))
    theirs = saved.saved_variables()
    shared = {name: v for name, v in model.saved_variables().items() if name in theirs}
    assert any('momentum' in name for name in shared)
    assert_same(shared, {name: theirs[name] for name in shared})
    assert tiny(is_training=False).load_checkpoint()


def test_other_versions(tiny, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(tf, '__version__', '2.0')
        tiny().save_checkpoint()
    with pytest.warns(UserWarning, match='by TensorFlow 2.0 and goes on by TensorFlow 2'):
        assert tiny().load_checkpoint()
    with monkeypatch.context() as patch:
        patch.setattr(settings, 'FORMAT', settings.FORMAT + 1)
        tiny().save_checkpoint()
    with pytest.raises(console.InputError, match='newer version'):
        tiny().load_checkpoint()


def test_weights_that_are_not_finite_are_not_saved(tiny):
    model = tiny()
    model.save_checkpoint()
    model.named_variables['G_fc/b'].assign(np.full([1024], np.nan))
    model.run.step = 1
    with pytest.raises(FloatingPointError, match='G_fc/b is not finite everywhere after step 1'):
        model.save_checkpoint()
    assert tiny().load_checkpoint()


def test_a_moved_folder_opens(tiny, tmp_path):
    tiny().save_checkpoint()
    folder = tmp_path / 'save' / 'checkpoint'
    text = (folder / 'checkpoint').read_text().replace('"model-0"', '"C:\\\\old\\\\model-0"')
    (folder / 'checkpoint').write_text(text)
    shutil.move(folder, tmp_path / 'moved')
    assert tiny().load_checkpoint(str(tmp_path / 'moved'))


def test_no_checkpoint(tiny, tmp_path):
    assert tiny().load_checkpoint() is False
    assert tiny().load_checkpoint(str(tmp_path / 'nowhere')) is False


def test_a_missing_variable_is_named(tiny):
    model = tiny()
    tensors = {name: v.numpy() for name, v in model.named_variables.items()}
    del tensors['G_deconv1/b']
    checkpoints.save(os.path.join(model.save_dir, 'checkpoint'), 'model-0', tensors)
    with pytest.raises(console.InputError, match='has no variable G_deconv1/b'):
        model.load_checkpoint()


@pytest.mark.parametrize('text', [None, '\x07garbage', 'model_checkpoint_path: "../model-9"'])
def test_a_damaged_or_missing_list_of_whole_checkpoints(tiny, tmp_path, text):
    for step in (0, 9, 10):
        model = tiny()
        model.run.step = step
        model.save_checkpoint()
    path = tmp_path / 'save' / 'checkpoint' / 'checkpoint'
    path.write_text(text) if text else path.unlink()
    other, step = tiny(), 9 if '9' in str(text) else 10
    warned = pytest.warns(UserWarning, match=f'model-{step} is taken as the newest')
    with warned if step == 10 else contextlib.nullcontext():
        assert other.load_checkpoint()
    assert other.run.step == step
    for index in path.parent.glob('*.index'):
        index.unlink()
    with pytest.raises(console.InputError, match=r'is damaged|is missing|cannot be read'):
        checkpoints.read_newest(str(path.parent))


def test_a_model_is_saved_without_copies(tiny, monkeypatch):
    """Copies of the default model and its Adam took 1.5 GB, and a kill where memory is limited."""
    model, given = tiny(), {}
    monkeypatch.setattr(
        tf.raw_ops,
        'SaveV2',
        lambda **kw: given.update(zip(kw['tensor_names'], kw['tensors'], strict=True)),
    )
    with pytest.raises(console.InputError):  # nothing was written
        model.save_checkpoint()
    own = {name: address(tf.convert_to_tensor(v)) for name, v in model.saved_variables().items()}
    assert own and own == {name: address(given[name]) for name in own}


def address(tensor):
    """Return where a tensor's numbers lie in memory."""
    return np.asarray(memoryview(tensor)).__array_interface__['data'][0]

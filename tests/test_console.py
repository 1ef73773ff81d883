"""How programs start, print and end."""

import errno
import importlib
import io
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from data import console
from tests import draw_faces

ROOT = pathlib.Path(console.__file__).parents[1]


# --------------------------------------------------------------------- TensorFlow's start


def run(*words, path='', **variables):
    """Run Python with the words of a command line, as a user does who set no log level."""
    environment = {name: v for name, v in os.environ.items() if name != console.LOG_LEVEL}
    environment |= {'PYTHONPATH': f'{path}{os.pathsep}{ROOT}', **variables}
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ('words', 'first'),
    [
        (['main.py', '--is_train', 'False', '--testdir', 'nowhere'], '\tThere is no folder or '),
        (['-m', 'data.check', 'nowhere'], '\tThere is no folder '),
        (['-m', 'data.align', 'nowhere', 'out'], '\tThere is no folder '),
        (['-m', 'init_model.pack', 'nowhere'], '\tThere is no checkpoint '),
        (['-m', 'demo.games', 'kids', 'a', 'b', '--count', '0'], '\targument --count: 0 is not '),
        (['-m', 'data.check', 'x', '--batch_size', '0'], '\targument --batch_size: 0 is not '),
    ],
)
def test_a_program_says_the_first_word(words, first, tmp_path):
    done = run(*words)
    assert done.returncode != 0
    assert done.stderr.lstrip('\n').startswith(first), done.stderr


@pytest.fixture
def stub(tmp_path):
    """A function that makes a TensorFlow which writes as C++ code does, and then runs a line."""

    def make(line):
        (tmp_path / 'tensorflow').mkdir()
        text = f"import os\nos.write(2, b'libfoo.so is missing\\n')\n{line}\n"
        (tmp_path / 'tensorflow' / '__init__.py').write_text(text)
        return tmp_path

    return make


def test_a_log_level_of_the_user_hides_nothing(stub):
    level = {console.LOG_LEVEL: '0'}
    done = run('-m', 'data.align', 'x', 'y', path=stub('raise KeyboardInterrupt'), **level)
    assert done.stderr == 'libfoo.so is missing\n\n\tStopped.\n'


def test_who_imports_the_modules_sees_what_is_written(stub):
    """But for the log level, which counts as soon as any of them is imported."""
    show = 'print(os.environ["TF_CPP_MIN_LOG_LEVEL"], sys.excepthook is sys.__excepthook__)'
    done = run('-c', f'import os, sys, data, tensorflow; {show}', path=stub(''))
    assert (done.stdout, done.stderr) == ('3 True\n', 'libfoo.so is missing\n')


def test_a_worker_of_a_program_is_quiet_too(stub, monkeypatch):
    """Its command line is its own, but it has the program's arguments."""
    start = f'import sys; sys.argv = [{str(ROOT / "data" / "align.py")!r}]; import data, tensorflow'
    assert run('-c', start, path=stub('')).stderr == ''


def test_an_import_that_crashes_is_reported(stub):
    done = run('-m', 'data.align', 'x', 'y', path=stub('os.abort()'))
    assert done.returncode != 0 and 'Fatal Python error: Aborted' in done.stderr


@pytest.mark.parametrize('words', [['--help'], ['--epoch', 'many'], ['stray']])
def test_flags_are_answered_without_tensorflow(stub, words):
    done = run('main.py', *words, path=stub('os.abort()'), **{console.LOG_LEVEL: '0'})
    assert 'libfoo' not in done.stderr


@pytest.mark.parametrize(
    'words', [['-m', 'data.check', 'x'], ['-m', 'demo.photos', 'x'], ['-m', 'init_model.pack', 'x']]
)
def test_ctrl_c_during_the_imports(stub, words):
    """And what TensorFlow has written till then is hidden."""
    done = run(*words, path=stub('raise KeyboardInterrupt'))
    assert done.returncode in (-2, 130) and done.stderr == '\n\tStopped.\n'


def test_settings_of_keras_for_other_programs(tmp_path):
    settings = '{"backend": "jax", "floatx": "float16", "image_data_format": "channels_first"}'
    (tmp_path / '.keras').mkdir()
    (tmp_path / '.keras' / 'keras.json').write_text(settings)
    show = 'print(c.backend(), c.floatx(), c.image_data_format(), tf.keras.Model is keras.Model)'
    done = run(
        '-c',
        f'import data, keras, tensorflow as tf; c = keras.config; {show}',
        HOME=str(tmp_path),
        KERAS_BACKEND='torch',
        TF_USE_LEGACY_KERAS='1',
    )
    assert done.stdout == 'tensorflow float32 channels_last True\n', done.stderr
    assert (tmp_path / '.keras' / 'keras.json').read_text() == settings


# -------------------------------------------------------------------------------- output


@pytest.mark.parametrize('encoding', ['ascii', 'cp1252'])
def test_letters_that_the_output_lacks(monkeypatch, encoding):
    written = io.BytesIO()
    monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(written, encoding))

    @console.one_sentence()
    def main():
        print('中文 Zo\udceb')

    main()
    assert written.getvalue().decode().split() == ['\\u4e2d\\u6587', 'Zo\\udceb']


def test_a_reader_that_ends_early(monkeypatch, capfd):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, 'w') as pipe:
        monkeypatch.setattr(sys, 'stdout', pipe)

        @console.one_sentence()
        def main():
            print('one')

        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 1 and capfd.readouterr().err == ''


@pytest.mark.parametrize('name', [None, 'aside'])
def test_a_full_disk_is_told_with_the_file(name):
    @console.one_sentence()
    def main():
        with console.naming('out.png', 'aside'):
            raise OSError(errno.ENOSPC, 'No space left on device', name)

    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code.startswith('\n\tout.png cannot be used (No space left on device)')


def test_progress_without_a_terminal_is_plain_lines(capsys):
    with console.Progress(range(10), 'Epoch 1/2', unit='batch') as progress:
        for i in progress:
            progress.set_postfix_str(f'EG_err {i}')
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith('Epoch 1/2: 0%, 0/10, ')
    assert last.startswith('Epoch 1/2: 100%, 10/10, ') and last.endswith(', EG_err 9')


@pytest.mark.parametrize('make', [os.pipe, os.openpty])
def test_output_that_nobody_reads(capfd, make):
    """A pipe whose reader has ended, or a closed terminal."""
    reading, writing = make()
    os.close(reading)
    with open(writing, 'w') as file:
        console.say('one', file)
        console.say('two', file)
    console.say('three')
    assert capfd.readouterr().out == 'three\n'


@pytest.mark.parametrize('closed', ['0<&-', '1>&-', '2>&-', '0<&- 1>&- 2>&-'])
def test_a_program_whose_streams_are_closed(closed, tmp_path):
    (tmp_path / 'set').mkdir()
    for age in (20, 30, 40, 50):
        draw_faces.draw_face(age, 0, seed=age).save(tmp_path / 'set' / f'{age}_0_x.png')
    words = f'-m data.check set --datadir {tmp_path} --batch_size 2 --csv True'
    done = subprocess.run(
        ['sh', '-c', f'{sys.executable} {words} {closed}'], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0 and (tmp_path / 'set' / 'labels.csv').exists()
    assert ('Training could start' in done.stdout) == ('1>' not in closed)


# ------------------------------------------------------------------------------ programs


@pytest.mark.parametrize(
    ('flags', 'more'), [((), ''), (('batch_size', 'cache'), ' Try --batch_size 7.')]
)
def test_a_program_adds_the_flags_that_it_has(flags, more):
    @console.one_sentence(flags=flags)
    def main():
        raise console.InputError('Too few: take less.', batch_size=7, align=False)

    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == f'\n\tToo few: take less.{more}'


@pytest.mark.parametrize(
    'lack',
    [
        lambda: [].extend(range(2**62)),
        lambda: np.empty(2**50),
        lambda: raise_(tf.errors.ResourceExhaustedError(None, None, 'OOM when allocating')),
        lambda: raise_(tf.errors.AbortedError(None, None, 'Operation received an exception: 1')),
        lambda: raise_(RuntimeError("can't start new thread")),
    ],
)
def test_memory_that_is_not_there(lack):
    with pytest.raises(SystemExit) as ended:
        console.one_sentence()(lack)()
    assert ended.value.code.startswith('\n\tMemory ran out (')
    assert ended.value.code.endswith('): close other programs.')


@pytest.mark.parametrize(
    'error',
    [tf.errors.AbortedError(None, None, 'a worker died'), RuntimeError('odd'), ValueError('odd')],
)
def test_other_errors_are_left_alone(error):
    with pytest.raises(type(error)):
        console.one_sentence()(raise_)(error)


def raise_(error):
    raise error


@pytest.mark.parametrize(
    ('program', 'words'),
    [
        ('data.check', ['set', '--datadir', '~/x']),
        ('data.check', ['~/x']),
        ('data.align', ['~/x', 'out']),
        ('init_model.pack', ['~/x']),
        ('demo.evaluate.__main__', ['--dataset', '~/x']),
        ('demo.photos', ['~/x']),
        ('demo.games', ['kids', '~/x', 'b.jpg']),
        ('demo.games', ['morph', '~/x', 'b.jpg']),
    ],
)
def test_all_programs_expand_paths(program, words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(program).main(words)
    assert '~' not in str(ended.value.code)
    assert str(tmp_path / 'home' / 'x') in str(ended.value.code)

"""How programs start, print and end."""

import os
import pathlib
import subprocess
import sys

import pytest

from data import console

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
        (['-m', 'demo.kids', 'a.jpg', 'b.jpg', '--count', '0'], 'usage: '),
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


IMPORT = ['-c', 'import sys, data, tensorflow; print("on", file=sys.stderr)']


def test_what_tensorflow_writes_is_hidden(stub):
    assert run(*IMPORT, path=stub('')).stderr == 'on\n'


def test_a_log_level_of_the_user_hides_nothing(stub):
    done = run(*IMPORT, path=stub(''), **{console.LOG_LEVEL: '0'})
    assert done.stderr == 'libfoo.so is missing\non\n'


def test_an_import_that_fails_shows_what_was_written(stub):
    done = run('main.py', path=stub("raise ImportError('no foo')"))
    assert done.returncode == 1
    assert done.stderr.startswith('libfoo.so is missing\n')
    assert done.stderr.endswith('ImportError: no foo\n')


def test_an_import_that_crashes_is_reported(stub):
    done = run(*IMPORT, path=stub('os.abort()'))
    assert done.returncode != 0 and 'Fatal Python error: Aborted' in done.stderr


@pytest.mark.parametrize('words', [['--help'], ['--epoch', 'many'], ['stray']])
def test_flags_are_answered_without_tensorflow(stub, words):
    assert 'libfoo' not in run('main.py', *words, path=stub('os.abort()')).stderr


# -------------------------------------------------------------------------------- output


def test_progress_without_a_terminal_is_plain_lines(capsys):
    with console.Progress(range(10), 'Epoch 1/2', unit='batch') as progress:
        for i in progress:
            progress.set_postfix_str(f'EG_err {i}')
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith('Epoch 1/2: 0%, 0/10, ')
    assert last.startswith('Epoch 1/2: 100%, 10/10, ') and last.endswith(', EG_err 9')


def test_output_that_nobody_reads(capfd):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, 'w') as pipe:
        console.say('one', pipe)
        console.say('two', pipe)
    console.say('three')
    assert capfd.readouterr().out == 'three\n'


# ------------------------------------------------------------------------------ programs


@pytest.mark.parametrize(
    ('flags', 'sentence'),
    [
        ((), 'Too few: take less.'),
        (('batch_size', 'cache'), 'Too few: take less. Try --batch_size 7.'),
    ],
)
def test_a_program_adds_the_flags_that_it_has(flags, sentence):
    @console.one_sentence(flags=flags)
    def main():
        raise console.InputError('Too few: take less.', batch_size=7, align=False)

    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == f'\n\t{sentence}'


@pytest.mark.parametrize(
    ('word', 'value'), [('True', True), ('no', False), ('1', True), ('F', False), (True, True)]
)
def test_booleans(word, value):
    assert console.boolean(word) is value


@pytest.mark.parametrize('word', ['', 'maybe', '2', 'None'])
def test_what_is_no_boolean(word):
    with pytest.raises(ValueError, match='neither True nor False'):
        console.boolean(word)

"""Flags with values that nobody thought of: a sentence and status 1, or they are what they say."""

import contextlib
import io
import math
import os
import pathlib
import warnings

import pytest
from absl import flags
from absl.testing import flagsaver
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import main
from data import check, flag_types, labels, tables
from data.console import InputError
from tests.test_main import DEFAULTS, Recorder

RANGES = {
    'epoch': (1, flag_types.MOST),
    'batch_size': (1, flag_types.MOST),
    'learning_rate': (0, 1),
    'seed': (0, 2**32 - 1),
    'summary_steps': (1, flag_types.MOST),
    'checkpoint_steps': (1, flag_types.MOST),
}
CHOICES = ('precision', 'labels')
FOLDERS = ('dataset', 'datadir', 'savedir', 'testdir')
BOOLEANS = [name for name, value in DEFAULTS.items() if isinstance(value, bool)] + ['xla']
BOOLEANS.remove('is_train')  # False needs --testdir, True allows none
NUMBERS = st.one_of(
    st.integers().map(str),
    st.floats().map(repr),
    st.sampled_from([10**9, 10**12, 10**20, 2**31, 2**32, 2**63, -1, 0, 1]).map(str),
    st.sampled_from(['1e300', '1e400', '-inf', 'nan', '9' * 5000]),
    st.sampled_from(['\uff11\uff12', '1_0', '0x1f', '+1', ' 1']),
)
WORDS = st.one_of(
    st.text(max_size=20),
    NUMBERS,
    st.sampled_from(['', ' ', '\0', 'a\0b', '..', '-1', '--epoch', 'a' * 5000]),
    st.sampled_from(['1,1', 'True', '[]']),
)
each = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def call(*words):
    """Run main.py as a process would; return the sentence that it ends with, None for success."""
    with flagsaver.flagsaver(), warnings.catch_warnings():
        try:
            main.main(flag_types.parse(['main.py', *words]))
        except SystemExit as error:
            assert isinstance(error.code, str), error.code  # printed, and the status is 1
            sentence = error.code.strip()
            assert sentence and 'Traceback' not in sentence
            return sentence
    return None


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """What is asked of FaceAging, in an empty folder."""
    recorded = []
    monkeypatch.setattr('face_aging.FaceAging', Recorder(recorded))
    monkeypatch.setattr('data.flag_types.keep', lambda _: None)
    monkeypatch.setattr('init_model.savedir.running', lambda *_: contextlib.nullcontext())
    monkeypatch.chdir(tmp_path)
    yield recorded
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize('name', RANGES)
@each
@given(text=st.one_of(NUMBERS, WORDS))
def test_numbers(calls, name, text):
    try:
        number = float(text) if name == 'learning_rate' else int(text)
    except ValueError:
        number = math.nan
    sentence, (low, high) = call(f'--{name}={text}'), RANGES[name]
    if not low <= number <= high:
        assert f'--{name}=' in sentence and (' is not a' in sentence)
        assert 'invalid literal' not in sentence
    else:
        assert sentence is None


@pytest.mark.parametrize('name', [*BOOLEANS, *CHOICES])
@each
@given(text=WORDS)
def test_choices(calls, name, text):
    words = flag_types.BOOLEANS if name in BOOLEANS else flags.FLAGS[name].parser.enum_values
    known = text.lower() in words if name in BOOLEANS else text in words
    sentence = call(f'--{name}={text}')
    assert sentence is None if known else f'--{name}=' in sentence


@pytest.mark.parametrize('name', FOLDERS)
@each
@given(text=WORDS)
@example(text='s3://bucket/faces')
@example(text='not UTF-8 \udcff')
def test_folders(calls, name, text):
    sentence = call(f'--{name}={text}', f'--is_train={name != "testdir"}')
    if text == '' or '\0' in text or '://' in text or '\udcff' in text:
        assert f'--{name}=' in sentence and 'names no file or folder' in sentence
    else:
        assert sentence is None


@each
@given(text=st.one_of(WORDS, st.lists(st.integers(-5, 160)).map(lambda n: ','.join(map(str, n)))))
@example(text=','.join(map(str, range(1, 100_000))))
@example(text=',')
def test_age_groups(calls, text):
    sentence = call(f'--age_groups={text}')
    if sentence is None:
        upper = labels.parse_age_upper(text)
        assert list(upper) == sorted(set(upper)) and upper[0] >= 1 and upper[-1] <= tables.OLDEST
    else:
        assert 'are no upper limits of age groups' in sentence and len(sentence) < 400
        with pytest.raises(InputError):
            labels.parse_age_upper(text)


@each
@given(words=st.lists(st.one_of(WORDS, st.sampled_from([f'--{name}' for name in DEFAULTS]))))
def test_any_words(calls, words):
    """Those that are no flags, too."""
    if not any(word.startswith(('--help', '-help', '-?')) for word in words):
        call(*words)


@pytest.mark.parametrize(
    ('words', 'value'),
    [
        ('--is_train --epoch 3', True),
        ('-is_train', True),
        ('--nois_train', False),
        ('--epoch 3 -nois_train --testdir x', False),
        ('--is_train no --nois_train --is_train y', True),
    ],
)
def test_a_boolean_alone_and_with_no(words, value):
    with flagsaver.flagsaver():
        assert flag_types.parse(['main.py', *words.split()]) == ['main.py']
        assert flags.FLAGS.is_train is value


@pytest.mark.parametrize(
    ('words', 'sentence'),
    [
        ('--is_train stray', 'flag --is_train=stray: neither True nor False'),
        ('--nois_train=False', "Unknown command line flag 'nois_train'"),
        ('--noepoch', "Unknown command line flag 'noepoch'"),
        ('--nois_train False', "'False'"),
    ],
)
def test_booleans_that_are_ambiguous(calls, words, sentence):
    assert sentence in call(*words.split())


def test_flag_files(calls, tmp_path_factory):
    path = tmp_path_factory.mktemp('flags') / 'flags.txt'
    path.write_bytes(b'\xff\xfe\x00')
    assert 'utf-8' in call(f'--flagfile={path}')
    assert 'flagfile' in call(f'--flagfile={path.parent}')
    assert 'flagfile' in call('--flagfile=nowhere')
    path.write_text('--epoch=many\n')
    assert "--epoch=many: 'many' is not an integer in the range" in call(f'--flagfile={path}')


@pytest.mark.usefixtures('no_init_model')
@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--datadir', '{}/here', '--dataset', '..'], 'holds 14 faces, too few'),
        (['--dataset', 'a' * 5000], 'There is no folder'),
        (['--datadir', 'a' * 5000], 'There is no folder'),
        (['--savedir', 'a' * 5000], r'cannot be used \(File name too long\)'),
        (['--savedir', '{}/faces.txt/save'], r'cannot be used \(Not a directory\): .*another path'),
        (['--batch_size', '1000000'], 'too few for batches of 1000000'),
        (['--is_train', 'no', '--testdir', 'a' * 5000], 'There is no folder'),
        (
            ['--is_train', 'no', '--testdir', '{}/faces', '--savedir', 'a' * 5000],
            'no trained model',
        ),
    ],
)
def test_values_that_the_class_refuses(tiny_main, faces, tmp_path, monkeypatch, words, message):
    (tmp_path / 'faces.txt').touch()
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    words = [word.format(tmp_path) for word in words]
    if words[0] not in ('--dataset', '--datadir'):
        words = ['--datadir', str(tmp_path), '--dataset', 'faces', *words]
    with pytest.raises(SystemExit, match=message) as error:
        tiny_main(*words)
    assert '\n' not in error.value.code.strip()
    left = {path.name for path in pathlib.Path().rglob('*')}
    assert left <= {'save', 'flags.txt', 'lock', 'train.log'}


def test_a_folder_that_is_read_only(tiny_main, faces, tmp_path, monkeypatch):
    def refuse(path, *_, **__):
        raise PermissionError(13, 'Permission denied', path)

    monkeypatch.setattr(os, 'makedirs', refuse)
    words = ['--datadir', tmp_path, '--dataset', 'faces', '--savedir', tmp_path / 'save']
    with pytest.raises(SystemExit, match=r'save cannot be used \(Permission denied\): mend'):
        tiny_main(*words)
    assert not (tmp_path / 'save').exists()


# -------------------------------------------------------------------- other programs


@pytest.mark.parametrize(
    ('words', 'sentence'),
    [
        (['--count', '0'], 'argument --count: 0 is not an integer in the range [1, 9]'),
        (['--count', 'x'], "argument --count: 'x' is not an integer in the range [1, 9]"),
        (['--share', '1.5'], 'argument --share: 1.5 is not a number in the range [0, 1]'),
        (['--share', 'nan'], 'argument --share: nan is not a number in the range [0, 1]'),
        (['--gif', 'maybe'], 'argument --gif: neither True nor False'),
        (['--savedir', ''], 'argument --savedir: this names no file or folder'),
        (['--labels', 'x'], "argument --labels: invalid choice: 'x'"),
        (['stray'], 'unrecognized arguments: stray'),
    ],
)
def test_a_program_says_what_a_value_is_not(words, sentence, capsys):
    parser = flag_types.Parser('python -m demo.x', 'Do x.')
    parser.add_argument('--count', type=flag_types.integer(1, 9), default=2)
    parser.add_argument('--share', type=flag_types.number(0, 1), default=0.5)
    parser.add_argument('--gif', type=flag_types.boolean, default=False)
    flag_types.add_model(parser)
    flag_types.add_data_set(parser)
    assert vars(parser.parse_args(['--count', '9', '--share', '0', '--gif', 'yes'])) == {
        'count': 9,
        'share': 0,
        'gif': True,
        'savedir': 'save',
        'age_groups': flag_types.AGE_GROUPS,
        'datadir': 'data',
        'dataset': 'UTKFace',
        'labels': None,
    }
    assert parser.parse_args(['--gif', '--count', '3']).gif
    assert not parser.parse_args(['--gif', '--nogif']).gif
    with pytest.raises(SystemExit) as error:
        parser.parse_args(words)
    assert error.value.code.startswith(f'\n\t{sentence}') and error.value.code.endswith(
        ': see --help.'
    )
    assert capsys.readouterr() == ('', '')


CHECK = ('--datadir', '--labels', '--age_groups', '--batch_size', '--full', '--csv')


@settings(each, max_examples=150)
@given(name=WORDS, words=st.lists(st.tuples(st.sampled_from(CHECK), WORDS), max_size=2))
@example(name='x', words=[('--batch_size', '9' * 5000)])
@example(name='', words=[])
@example(name='a\0b', words=[])
def test_arguments_of_the_doctor(tmp_path, monkeypatch, name, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as error, contextlib.redirect_stdout(io.StringIO()):
        check.main([name, *(f'{word}={value}' for word, value in words)])
    assert error.value.code is not None
    if not name.startswith('-h'):
        assert isinstance(error.value.code, str) and 'Traceback' not in error.value.code
    assert not os.listdir(tmp_path)

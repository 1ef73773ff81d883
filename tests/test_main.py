"""The command line: flags, errors, and one real run of the program."""

import pathlib
import re
import shlex
import signal
import subprocess
import sys

import pytest
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver

import main
from data import flag_types, labels, readers
from init_model.checkpoints import Checkpoint
from init_model.run import Run

ROOT = pathlib.Path(main.__file__).parent
SIGNALS = [getattr(signal, n) for n in ('SIGINT', 'SIGTERM', 'SIGHUP') if hasattr(signal, n)]
DEFAULTS = {
    'is_train': True,
    'epoch': 50,
    'dataset': 'UTKFace',
    'savedir': 'save',
    'testdir': None,
    'use_trained_model': True,
    'use_init_model': True,
    'datadir': 'data',
    'change_dataset': False,
    'labels': None,
    'age_groups': '5,10,15,20,30,40,50,60,70',
    'hold_out': False,
    'batch_size': 100,
    'learning_rate': 0.0002,
    'beta1': 0.5,
    'decay_rate': 1.0,
    'weights': '0.0001,0,0',
    'balance': 0.0,
    'size_image': 128,
    'num_z_channels': 50,
    'seed': 2017,
    'precision': 'float32',
    'xla': None,
    'cache': None,
    'summary_steps': 1,
    'checkpoint_steps': None,
    'deterministic': False,
}


TRAINING = {
    'num_epochs': 2,
    'learning_rate': 0.0002,
    'beta1': 0.5,
    'decay_rate': 1.0,
    'use_trained_model': True,
    'use_init_model': True,
    'weights': (0.0001, 0, 0),
    'balance': 0,
}
PRE_TRAINING = {**TRAINING, 'num_epochs': 10, 'weights': (0, 0, 0), 'is_pre_training': True}
del PRE_TRAINING['use_init_model']


def parse(*words):
    with flagsaver.flagsaver():
        rest = flags.FLAGS(['main.py', *words])[1:]
        return {name: flags.FLAGS[name].value for name in DEFAULTS}, rest


class Recorder:
    """Stands in for FaceAging and remembers the calls."""

    is_chief = True
    saved = data_set = None  # the run in save_dir

    def __init__(self, calls):
        self.calls = calls
        self.run = Run((0.0001, 0, 0))

    def load_checkpoint(self):
        self.run = self.saved or self.run

    def __call__(self, **settings):
        self.calls.append(('FaceAging', settings))
        return self

    def train(self, **settings):
        self.calls.append(('train', settings))

    def custom_test(self, *args):
        self.calls.append(('custom_test', *args))


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """What main asks of FaceAging, as a function of the command line's words."""
    recorded = []
    monkeypatch.setattr('face_aging.FaceAging', Recorder(recorded))
    monkeypatch.setattr('face_aging.INIT_MODEL', 'no_init_model')
    monkeypatch.setattr('init_model.codes.complete', lambda *_: None)
    monkeypatch.chdir(tmp_path)

    def run(*words):
        recorded.clear()
        with flagsaver.flagsaver():
            main.main(flags.FLAGS(['main.py', *words]))
        return recorded

    return run


def test_defaults_are_the_originals():
    assert parse() == (DEFAULTS, [])


def test_choices_are_those_of_the_code():
    """main.py spells them out, so that --help need not wait for TensorFlow."""
    assert flags.FLAGS['labels'].parser.enum_values == list(readers.READERS)
    assert flags.FLAGS['age_groups'].default == ','.join(map(str, labels.AGE_UPPER))


@pytest.mark.parametrize('word', ['False', 'no', '0', 'F', 'True', 'yes', '1', 't'])
def test_truth_as_a_word_of_its_own(word):
    expected = {**DEFAULTS, 'is_train': word in ('True', 'yes', '1', 't')}
    assert parse('--is_train', word) == parse(f'--is_train={word}') == (expected, [])


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--epohc', '3'], 'epohc'),
        (['--testdir'], 'testdir'),
        (['--cache', 'tape'], 'memory|disk|none'),
        (['--weights', '0,0,-1'], 'three numbers'),
        (['--beta1', '1'], 'range'),
    ],
)
def test_mistaken_flags(words, message):
    with pytest.raises(flags.Error, match=message):
        parse(*words)


def test_training_flags_reach_the_class(calls, capsys):
    assert calls(
        *'--epoch 3 --dataset mine --datadir sets --savedir out --batch_size 7'.split(),
        *'--learning_rate 0.1 --seed 5 --use_init_model no'.split(),
        *'--cache disk --summary_steps 10 --hold_out yes --checkpoint_steps 30'.split(),
        *'--labels fgnet --age_groups 18,65 --weights 0.0001,0.01,0 --size_image 64'.split(),
        *'--num_z_channels 100 --beta1 0.9 --decay_rate 0.5 --change_dataset yes'.split(),
        *'--balance 0.5'.split(),
    ) == [
        (
            'FaceAging',
            {
                'size_image': 64,
                'size_batch': 7,
                'num_z_channels': 100,
                'is_training': True,
                'save_dir': 'out',
                'dataset_name': 'mine',
                'data_dir': 'sets',
                'change_dataset': True,
                'reader': 'fgnet',
                'age_upper': (18, 65),
                'hold_out': True,
                'seed': 5,
                'xla': None,
                'cache': 'disk',
                'summary_steps': 10,
                'checkpoint_steps': 30,
            },
        ),
        (
            'train',
            {
                'num_epochs': 3,
                'learning_rate': 0.1,
                'beta1': 0.9,
                'decay_rate': 0.5,
                'use_trained_model': True,
                'use_init_model': False,
                'weights': (0.0001, 0.01, 0),
                'balance': 0.5,
            },
        ),
    ]
    said = capsys.readouterr().out
    assert 'Done! out/checkpoint has the trained networks. To test them: python ' in said
    assert said.endswith('demo/faces --savedir out\n\n')
    kept = (pathlib.Path('out') / 'flags.txt').read_text()
    assert '--epoch=3\n' in kept and '--dataset=mine\n' in kept and '--use_init_model=False' in kept
    again = calls('--flagfile', 'out/flags.txt', '--epoch', '4')
    assert again[0][1]['save_dir'] == 'out' and again[1][1]['num_epochs'] == 4


def test_pre_training_comes_first(calls):
    _, first, second = calls('--use_trained_model', 'False', '--epoch', '2')
    assert first == ('train', {**PRE_TRAINING, 'use_trained_model': False})
    assert second == ('train', TRAINING)
    words = '--use_trained_model', 'False', '--epoch', '2', '--weights', '0,0,0'
    _, only = calls(*words)  # which is pre-training itself
    assert only == ('train', {**TRAINING, 'use_trained_model': False, 'weights': (0, 0, 0)})


def test_an_unfinished_pre_training_is_finished_first(calls, monkeypatch):
    begun = Run((0, 0, 0), epoch=9, is_pre_training=True)
    state = {**begun.state(), 'weights': (0, 0, 0)}
    del state['is_pre_training']
    unmarked = Run.from_checkpoint(Checkpoint('', {}, {}, state), (), goes_on=True)
    for run, expected in (
        (begun, [PRE_TRAINING, TRAINING]),
        (unmarked, [PRE_TRAINING, TRAINING]),  # of a checkpoint from before the mark
        (Run((0, 0, 0), epoch=10, is_pre_training=True), [TRAINING]),
        (Run((0, 0, 0), epoch=2), [TRAINING]),  # asked for as such, by --weights 0,0,0
        (Run((0.0001, 0, 0), epoch=1), [TRAINING]),
    ):
        monkeypatch.setattr(Recorder, 'saved', run)
        assert calls('--epoch', '2')[1:] == [('train', settings) for settings in expected]
    monkeypatch.setattr(Recorder, 'saved', begun)
    assert len(calls('--weights', '0,0,0')) == 2  # no pre-training, but a training without them


@pytest.mark.parametrize('name', ['plain', ' a b ', 'two\nlines', '-x #y', "it's", 'ü\u2028'])
def test_what_is_told_to_go_on_repeats_the_call(calls, monkeypatch, name):
    told = []
    words = [f'--savedir={name}', f'--dataset={name}', '--use_trained_model=False']
    monkeypatch.setattr(sys, 'argv', ['../caae/main.py', *words])
    monkeypatch.setattr('data.flag_types.keep', lambda _: told.append(main._call_to_go_on()))
    model, _, train = calls(*words)
    again = shlex.split(told[0])
    assert again[:2] == ['python', '../caae/main.py']
    assert calls(*again[2:]) == [model, train]


@pytest.fixture
def own_signals():
    """The signals that end main.py; what a test sets for them is undone."""
    usual = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:  # whatever they do where pytest was started, as under nohup
        signal.signal(number, signal.default_int_handler)
    yield
    for number, handler in usual.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures('own_signals')
@pytest.mark.parametrize('number', SIGNALS)
def test_a_signal_before_the_first_step(monkeypatch, capsys, number):
    monkeypatch.setattr(main, '_run', lambda: signal.raise_signal(number))
    with pytest.raises(SystemExit) as exit:
        main.main(['main.py'])
    assert exit.value.code == 128 + number
    assert capsys.readouterr().err == '\n\tStopped.\n'


@pytest.mark.usefixtures('own_signals')
@pytest.mark.skipif(len(SIGNALS) < 3, reason='no SIGHUP')
def test_nohup_before_the_first_step(monkeypatch):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    monkeypatch.setattr(main, '_run', lambda: signal.raise_signal(signal.SIGHUP))
    main.main(['main.py'])


@pytest.mark.parametrize(
    ('words', 'method', 'cure'),
    [
        ([], 'train', 'pass a smaller --batch_size'),
        (['--is_train', 'no', '--testdir', main.__file__], 'custom_test', 'close other programs'),
    ],
)
def test_memory_that_is_not_there(calls, monkeypatch, words, method, cure):
    def fail(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, 'OOM when allocating\n a tensor')

    monkeypatch.setattr(Recorder, method, fail)
    with pytest.raises(SystemExit, match=rf'\(OOM when allocating\): {cure}'):
        calls(*words)


def test_testing_flags_reach_the_class(calls, capsys):
    model, test = calls('--is_train', 'False', '--testdir', 'my photos', '--savedir', 'mine')
    assert model[1]['is_training'] is False and model[1]['save_dir'] == 'mine'
    assert test == ('custom_test', 'my photos')
    said = capsys.readouterr().out
    assert 'mine/test has test_as_male.png and test_as_female.png, a column a face' in said
    assert said.endswith("python -m demo.photos 'my photos' --savedir mine\n\n")


MOVED = {
    '--align True': 'align',
    '-gif': 'gif',
    '--noeveryone': 'everyone',
    '--ages=5,30': 'ages',
    '--likeness=0.5': 'likeness',
    '--whole_photo=yes': 'whole_photo',
}


@pytest.mark.parametrize('words', MOVED)
def test_flags_of_photos_are_sent_to_their_program(words):
    with pytest.raises(SystemExit, match=r'python -m demo\.photos my_photos, which') as error:
        flag_types.parse(['main.py', *words.split()])
    assert re.fullmatch(rf'\n\t--{MOVED[words]} has left this program: [^\n]+\.', error.value.code)


def test_a_stray_argument_is_an_error(calls):
    with pytest.raises(SystemExit, match="Stray argument 'False'"):
        calls('--is_train', 'False', 'False')


@pytest.mark.usefixtures('no_init_model')
@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--datadir', 'nowhere'], r'There is no folder nowhere/UTKFace: put the images there'),
        (['--datadir', '{}', '--dataset', 'empty'], r'No images in .*empty'),
        (['--datadir', '{}', '--dataset', 'faces'], r'holds 14 faces, .* Try --batch_size 7'),
        (
            ['--datadir', '{}', '--dataset', 'broken', '--batch_size', '2'],
            r"3 of 5 images are unreadable, too many .* as '.*9_1_broken0\.jpg': no picture",
        ),
        (['--is_train', 'False'], r'No faces to test on: .*--testdir \S*demo/faces'),
        (['--testdir', 'faces'], r'names faces to test on: pass --is_train False, too'),
        (['--is_train', 'False', '--testdir', 'nowhere'], r'There is no folder or picture nowhere'),
        (['--is_train', 'False', '--testdir', '{}/empty'], r'No images in .*empty'),
        (['--is_train', 'False', '--testdir', '{}/faces'], r'There is no trained model in'),
        (['--savedir', '{}/occupied', '--datadir', '{}'], r'occupied'),
    ],
)
def test_errors_are_one_sentence(tiny_main, faces, tmp_path, monkeypatch, words, message):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'occupied').write_text('a file')
    (tmp_path / 'broken').mkdir()
    for path in list(faces.iterdir())[:2]:
        (tmp_path / 'broken' / path.name).write_bytes(path.read_bytes())
    for i in range(3):
        (tmp_path / 'broken' / f'9_1_broken{i}.jpg').write_bytes(b'no picture')
    (tmp_path / 'cwd').mkdir()
    monkeypatch.chdir(tmp_path / 'cwd')
    with pytest.raises(SystemExit, match=message) as error:
        tiny_main(*(word.format(tmp_path) for word in words))
    assert '\n' not in error.value.code.strip()
    left = {path.name for path in pathlib.Path().rglob('*')}
    assert left <= {'save', 'flags.txt', 'lock', 'train.log'}


def run(*words, cwd):
    command = [sys.executable, str(ROOT / 'main.py'), *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_help_and_exit_status(tmp_path):
    help = run('--help', cwd=tmp_path)
    assert help.returncode == 0
    assert all(f'--{name}:' in help.stdout for name in DEFAULTS)
    for words in ('--is_train maybe', '--is_train False False'):
        mistaken = run(*words.split(), cwd=tmp_path)
        assert mistaken.returncode == 1 and 'Traceback' not in mistaken.stderr


def test_a_real_run(faces, tmp_path):
    """The two documented calls, with networks of full size."""
    train = run(*'--datadir . --dataset faces --epoch 1 --batch_size 4'.split(), cwd=tmp_path)
    assert train.returncode == 0, train.stderr
    assert '14 faces, 2 batches of 4, 46,866,071 parameters' in train.stdout
    assert re.search(r'Epoch 1/1: EG_err 0\.\d+ TV', train.stdout)
    assert 'FAILED' not in train.stdout
    assert '100%' in train.stderr and 'Traceback' not in train.stderr
    for name in ('samples/01.png', 'test/01.png', 'test/input.png', 'flags.txt'):
        assert (tmp_path / 'save' / name).exists()

    told = shlex.split(re.search(r'To test them: python (.*)', train.stdout)[1])
    assert told[0] == str(ROOT / 'main.py')
    test = run(*told[1:], cwd=tmp_path)
    assert test.returncode == 0, test.stderr
    lines = [line.strip() for line in test.stdout.splitlines() if line.strip()]
    assert [line for line in lines if not line.startswith('Restored')] == [
        'Building graph ...',
        'Testing Mode',
        'Loading pre-trained model ...',
        'SUCCESS ^_^',
        'Done! save/test has test_as_male.png and test_as_female.png, a column a face, sorted by '
        'name, and a row an age group, youngest on top. For strips: '
        f'python -m demo.photos {told[-1]}',
    ]
    for name in ('test_as_male.png', 'test_as_female.png', 'test_input.png', 'input.png'):
        assert (tmp_path / 'save' / 'test' / name).exists()


def test_readme_lists_the_flags():
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    rows = dict(re.findall(r'^\| `--(\w+)` \| `?([^`|]*?)`? \|', readme, re.MULTILINE))
    assert rows == {n: 'none' if value is None else str(value) for n, value in DEFAULTS.items()}


@pytest.mark.skipif(sys.version_info < (3, 11), reason='Python has no -P before 3.11')
def test_a_safe_path():
    command = [sys.executable, '-P', ROOT / 'main.py', '--epoch=x']
    ended = subprocess.run(command, capture_output=True, text=True, cwd='/')
    assert ended.stderr.startswith('\n\tflag --epoch=x')

"""The folder of a training: its lock, log, signals, summary and history."""

import csv
import errno
import os
import pathlib
import signal
import subprocess
import sys
import warnings

import pytest

from data import console
from init_model import savedir

ROOT = pathlib.Path(savedir.__file__).parent.parent
pytestmark = pytest.mark.usefixtures('no_init_model')


HOLDER = """
import sys
from init_model import savedir
with savedir.running(sys.argv[1]):
    print('locked', flush=True)
    input()
"""


def test_a_second_process_is_refused(tiny, faces, tmp_path, capsys):
    """After a kill the lock is not stale, and the next training says what may help."""
    save = tmp_path / 'save'
    command = [sys.executable, '-c', HOLDER, str(save)]
    pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE, 'text': True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        assert process.stdout.readline() == 'locked\n'
        with pytest.raises(
            console.InputError, match=rf'in use by another training, process {process.pid}:'
        ):
            tiny().train(num_epochs=1)
        assert sorted(os.listdir(save)) == ['lock', 'train.log']
        process.kill()
        process.communicate()
    capsys.readouterr()
    for _ in range(2):
        with savedir.running(str(save)):
            pass
    said = capsys.readouterr().out
    assert said == (
        f'\tThe training before, process {process.pid}, was killed, perhaps for lack of memory: '
        'if that happens again, pass --cache disk, or a smaller --batch_size.\n'
    )
    assert said.strip() in (save / 'train.log').read_text()


@pytest.mark.parametrize('number', [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks(tmp_path, monkeypatch, capsys, number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    (tmp_path / 'lock').write_text('123')  # of a training that may go on
    monkeypatch.setattr('portalocker.portalocker.LOCKER', fail)
    message = rf'{tmp_path} cannot be locked \({os.strerror(number)}\): let no other training'
    with pytest.warns(UserWarning, match=message), savedir.running(str(tmp_path)):
        savedir.log('within')
    assert 'within' in (tmp_path / 'train.log').read_text()
    assert capsys.readouterr().out == ''


@pytest.mark.parametrize(
    'error',
    [
        KeyboardInterrupt(),  # Ctrl-C, and main.py's SIGTERM before the first step
        console.Stopped(signal.SIGTERM, 'after a step'),
        console.InputError('a sentence'),
        MemoryError(),
        SystemExit(1),
    ],
    ids=repr,
)
def test_no_other_end_counts_as_a_kill(tmp_path, capsys, error):
    with pytest.raises(type(error)), savedir.running(str(tmp_path)):
        raise error
    with savedir.running(str(tmp_path)):
        pass
    assert capsys.readouterr().out == ''


@pytest.mark.usefixtures('eagerly')
@pytest.mark.parametrize(
    ('damaged', 'rows'),
    [
        (lambda text: text + '3,', 3),
        (lambda text: text.replace(',', ';'), 1),
        (lambda text: text.replace(',2,', ',two,'), 1),
        (lambda text: text.encode('utf-16'), 1),
    ],
)
def test_a_history_that_was_edited(tiny, faces, tmp_path, damaged, rows):
    tiny().train(num_epochs=2)
    path = tmp_path / 'save' / 'history.csv'
    edited = damaged(path.read_text())
    path.write_bytes(edited if isinstance(edited, bytes) else edited.encode())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always', UserWarning)
        tiny().train(num_epochs=3)
    with open(path, encoding='utf-8') as file:
        assert [row['epoch'] for row in csv.DictReader(file)] == ['1', '2', '3'][-rows:]
    is_kept = (tmp_path / 'save' / 'history.csv.1').exists()
    assert is_kept == any('history.csv is damaged' in str(warning.message) for warning in told)
    assert is_kept == (rows == 1)


@pytest.mark.usefixtures('eagerly')
def test_a_torn_end_of_an_event_file_is_cut_off(tiny, faces, tmp_path):
    model = tiny()
    model.train(num_epochs=1)
    run = model.run
    (path,) = (tmp_path / 'save' / 'summary').iterdir()
    whole = path.read_bytes()
    for torn in (b'\x05', whole[:20], b'\xff' * 30):
        path.write_bytes(whole + torn)
        savedir.make_ready(str(tmp_path / 'save'), run, size=0)
        assert path.read_bytes() == whole
    path.write_bytes(b'a note about the tfevents of this run')
    savedir.make_ready(str(tmp_path / 'save'), run, size=0)
    assert path.read_bytes().startswith(b'a note')


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no such device')
def test_a_log_without_room(tmp_path, capsys):
    os.symlink('/dev/full', tmp_path / savedir.LOG)
    with savedir.running(str(tmp_path)):
        savedir.say_and_log('a line')
    assert capsys.readouterr() == ('a line\n', '')


@pytest.mark.usefixtures('eagerly')
def test_log_and_history(tiny, faces, tmp_path):
    tiny().train(num_epochs=2)
    log = (tmp_path / 'save' / 'train.log').read_text()
    for text in ('Python 3.', '"size_image": 32', 'Epoch 2/2: EG_err 0.', 'Ended as it should.'):
        assert text in log
    with open(tmp_path / 'save' / 'history.csv', encoding='utf-8') as file:
        first, second = csv.DictReader(file)
    assert list(first)[:4] == ['epoch', 'step', 'EG_loss', 'tv_loss']
    assert list(first)[-2:] == ['seconds', 'faces_per_second']
    assert (first['epoch'], first['step'], second['step']) == ('1', '2', '4')
    assert f'EG_err {float(second["EG_loss"]):.4f}' in log


def test_a_second_signal_acts_at_once():
    with pytest.raises(KeyboardInterrupt), savedir.signals() as received:
        signal.raise_signal(signal.SIGINT)
        assert received == [signal.SIGINT]
        signal.raise_signal(signal.SIGINT)


def test_a_folder_that_this_process_has_locked(tmp_path):
    """main.py locks it for both trainings, and each training for itself."""
    with savedir.running(str(tmp_path)):
        with savedir.running(str(tmp_path / '..' / tmp_path.name)):
            savedir.log('within')
        assert (tmp_path / 'lock').read_text() == str(os.getpid())
    assert (tmp_path / 'lock').read_text() == ''
    assert (tmp_path / 'train.log').read_text().count('Ended as it should.') == 1


def test_another_worker_writes_nothing(tmp_path):
    with savedir.running(str(tmp_path / 'save'), is_chief=False):
        savedir.log('within')
    assert not (tmp_path / 'save').exists()

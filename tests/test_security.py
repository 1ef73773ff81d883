"""Files from strangers: they run no code, and nothing is read or written but what they are for."""

import ast
import json
import os
import pathlib
import sys

import mtcnn
import numpy as np
import pytest
import scipy.io

from data import check, console, detector, labels, tables
from init_model import checkpoints
from tests import draw_faces
from tests.test_align import NAMES, paste
from tests.test_main import ROOT

# What runs code that is in a file or in a string, or a program by a shell.
MODULES = set('pickle cPickle dill shelve marshal joblib cloudpickle yaml code'.split())
CALLS = {'eval', 'exec', 'compile', '__import__'}
ATTRIBUTES = {'load_model', 'load_weights', 'model_from_json', 'load_library'}
OS_ATTRIBUTES = {'system', 'popen'}


def dangers(source):
    """Return what of a program's text runs foreign code, in words."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [a.name for a in names if a.name.split('.')[0] in MODULES]
            case ast.ImportFrom(module=str(module)) if module.split('.')[0] in MODULES:
                found.append(module)
            case ast.Call(func=ast.Name(id=name)) if name in CALLS:
                found.append(name)
            case ast.Attribute(attr=name) if name in ATTRIBUTES:
                found.append(name)
            case ast.Attribute(value=ast.Name(id='os'), attr=name) if name in OS_ATTRIBUTES:
                found.append(name)
            case ast.keyword(arg='allow_pickle' | 'shell', value=value) if not (
                isinstance(value, ast.Constant) and value.value is False
            ):
                found.append(node.arg)
    return found


def test_nothing_unpickles_or_runs_what_it_reads():
    paths = [path for path in ROOT.rglob('*.py') if '.venv' not in path.parts]
    assert len(paths) > 20
    for path in paths:
        assert dangers(path.read_text(encoding='utf-8')) == [], path


@pytest.mark.parametrize(
    'source',
    [
        'import pickle',
        'from joblib import load',
        'import a, pickle as p',
        'eval(x)',
        'np.load(x, allow_pickle=True)',
        'np.load(x, allow_pickle=y)',
        'subprocess.run(x, shell=True)',
        'os.system(x)',
        'keras.saving.load_model(x)',
    ],
)
def test_dangers_are_seen(source):
    assert dangers(source)


# ------------------------------------------------------------------------------------ .mat


def test_a_mat_file_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr('pickle.loads', lambda *_, **__: pytest.fail('unpickled'))
    monkeypatch.setattr('pickle.load', lambda *_, **__: pytest.fail('unpickled'))
    cells = np.array(['__import__("os").abort()', b'cos\nabort\n(tR.', {'f': 1}], object)
    people = {'identity': np.arange(3), 'name': cells}
    pictures = {'age': np.array([1, 2, 3]), 'identity': np.arange(3), 'name': cells}
    table = {'celebrityImageData': pictures, 'celebrityData': people}
    scipy.io.savemat(tmp_path / 'meta.mat', table)
    assert tables.read_cacd_mat(tmp_path / 'meta.mat')


# ------------------------------------------------------------------------------------ tables


@pytest.fixture
def outside(tmp_path):
    """A picture outside of the data set tmp_path/set, of which tables may not know."""
    draw_faces.draw_face(25, 0, seed=0).save(tmp_path / 'secret.jpg')
    draw_faces.draw_data_set(tmp_path / 'set', 4)
    return tmp_path / 'secret.jpg'


@pytest.mark.filterwarnings('ignore:3 of 4 images')
def test_a_table_names_pictures_of_its_folder_only(outside, tmp_path):
    names = ['../secret.jpg', str(outside), 'x/../../secret.jpg', '..\\secret.jpg', '/etc/passwd']
    names += ['../set/../secret.jpg', 'file://' + str(outside), '=WEBSERVICE("http://x")']
    inside = next((tmp_path / 'set').iterdir()).name
    rows = [f'"{name.replace(chr(34), chr(34) * 2)}",30,0' for name in [*names, inside]]
    (tmp_path / 'set' / 'labels.csv').write_text('\n'.join(['file,age,gender', *rows]))
    with pytest.warns(UserWarning, match=f'{len(names)} lines of .* name no image'):
        paths, _, _ = labels.list_faces(str(tmp_path / 'set'))
    assert paths == [str(tmp_path / 'set' / inside)]


def test_a_written_table_holds_no_formulas(tmp_path):
    names = ['=1+1.jpg', '@x.jpg', '+1.jpg', '-1.jpg', 'plain.jpg']
    faces = {str(tmp_path / name): (30, 0) for name in names}
    for path in faces:
        draw_faces.draw_face(30, 0, seed=0).save(path)
    check.write_labels(str(tmp_path), faces)
    lines = (tmp_path / 'labels.csv').read_text().splitlines()[1:]
    assert [line[0] for line in lines] == ['.', '.', '.', '.', 'p']
    assert labels.list_faces(str(tmp_path))[0] == sorted(faces)


def test_a_table_is_not_written_through_a_link(outside, tmp_path):
    """A link that came with a data set."""
    precious, folder = tmp_path / 'precious', tmp_path / 'set'
    precious.write_text('file,age,gender\n')
    os.symlink(precious, folder / 'labels.csv')
    path = str(next(path for path in folder.iterdir() if path.suffix == '.jpg'))
    check.write_labels(str(folder), {path: (30, 0)})
    assert precious.read_text() == 'file,age,gender\n'
    assert not (folder / 'labels.csv').is_symlink()
    assert len((folder / 'labels.csv').read_text().splitlines()) == 2


# --------------------------------------------------------------------------------- detector


def test_the_detector_unpickles_only_its_own_weights(tmp_path, monkeypatch):
    """mtcnn would take those in the current folder, as in one of photos from a stranger."""
    load, read = sys.modules['joblib'].load, []  # which mtcnn has imported
    monkeypatch.setattr('joblib.load', lambda path: read.append(path) or load(path))
    monkeypatch.chdir(tmp_path)
    names = 'pnet.lz4', 'rnet.lz4', 'onet.lz4'
    for name in names:
        pathlib.Path(name).write_bytes(b'cos\nabort\n(tR.')
    detector._stage.cache_clear()
    assert len(detector.find_faces(np.asarray(paste(NAMES[0])[0]))) == 1
    own = pathlib.Path(mtcnn.__file__).parent / 'assets' / 'weights'
    assert sorted(map(pathlib.Path, read)) == sorted(own / name for name in names)


# ------------------------------------------------------------------------------ checkpoints


@pytest.mark.usefixtures('no_init_model')
def test_a_checkpoint_names_no_files_to_remove(tiny, tmp_path):
    """Those that superseded ones are removed by are its own."""
    precious = tmp_path / 'precious.txt'
    precious.write_text('mine')
    model, folder = tiny(), tmp_path / 'save' / 'checkpoint'
    names = ['../../precious', str(tmp_path / 'precious'), '*', 'model-*', '', 7]
    settings = {'age_upper': model.age_upper}
    state = {**model.run.state(), 'checkpoints': names, 'settings': settings}
    tensors = {name: value.numpy() for name, value in model.saved_variables().items()}
    checkpoints.save(str(folder), 'model-0', {**tensors, checkpoints.STATE: json.dumps(state)})
    assert model.load_checkpoint()
    for model.run.step in (1, 2, 3, 4):
        model.save_checkpoint()
    assert precious.read_text() == 'mine'
    assert 'model-0.index' in os.listdir(folder)


@pytest.mark.usefixtures('no_init_model')
@pytest.mark.parametrize(
    'crafted',
    [
        {'epoch': 'many'},
        {'weights': 7},
        {'order': [0, 5], 'random': ['MT19937', [0] * 624, 0, 0, 0.0]},
        {'order': 'abc', 'random': None},
        {'order': [0, 1], 'random': ['MT19937', [1, 2], 0, 0, 0.0]},
        {'order': [0, 1]},
    ],
)
def test_a_crafted_state_is_named_and_nothing_restored(tiny, monkeypatch, crafted):
    model = tiny()
    state = {**model.run.state(), **crafted}
    monkeypatch.setattr(model.run, 'state', lambda: state)
    model.save_checkpoint()
    other = tiny()
    other.named_variables['E_fc/b'].assign(np.ones(50))
    with pytest.raises(console.InputError, match='restore a copy'):
        other.load_checkpoint()
    assert (other.named_variables['E_fc/b'].numpy() == 1).all()

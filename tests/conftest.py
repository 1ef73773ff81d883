"""What the tests share: golden numbers, tiny models, made-up faces."""

import functools
import json
import os
import pathlib
import shutil
import signal

os.environ['CUDA_VISIBLE_DEVICES'] = '-1'  # the tests are for a CPU
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data import detector, labels
from face_aging import FaceAging
from init_model import pack
from tests import draw_faces

# Two devices, so that training can be spread over them.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices('CPU')[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

GOLDEN = pathlib.Path(__file__).parent / 'golden'
TINY = {'size_image': 32, 'num_encoder_channels': 8, 'num_gen_channels': 64}


def pytest_configure(config):
    config.addinivalue_line('markers', 'slow: takes minutes; runs only where -m asks for it')
    config.addinivalue_line('filterwarnings', 'ignore:Even though the `tf.config')  # `eagerly`


def pytest_collection_modifyitems(config, items):
    if not config.option.markexpr:
        slow = [item for item in items if item.get_closest_marker('slow')]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


def random_batch(count, size_image=32, seed=0):
    """Return image, age, gender and z_prior for a training step of so many faces, float32."""
    random = np.random.RandomState(seed)
    image = random.uniform(-1, 1, (count, size_image, size_image, 3)).astype(np.float32)
    age = labels.one_hot(random.randint(0, 10, count), 10)
    gender = labels.one_hot(random.randint(0, 2, count), 2)
    return image, age, gender, random.uniform(-1, 1, (count, 50)).astype(np.float32)


class Golden:
    """Numbers that the original computed, and the weights and inputs behind them."""

    def __init__(self, name):
        self.settings = json.loads((GOLDEN / name / 'golden.json').read_text())
        self.numbers = np.load(GOLDEN / name / 'golden.npz')
        random = np.random.RandomState(self.settings['seed'])
        self.variables = {
            name: (random.normal(size=shape) * 0.05).astype(np.float32)
            for name, shape in self.settings['variables'].items()
        }
        sizes = self.settings['size_batch'], self.settings['size_image']
        self.inputs = [*map(tf.constant, random_batch(*sizes, self.settings['seed'] + 1))]

    def model(self):
        sizes = ('size_image', 'size_batch', 'num_encoder_channels', 'num_gen_channels')
        model = FaceAging(**{name: self.settings[name] for name in sizes})
        for name, value in self.variables.items():
            model.named_variables[name].assign(value)
        return model


@pytest.fixture(scope='session', params=['tiny32', 'full128'])
def golden(request):
    return Golden(request.param)


@pytest.fixture
def tiny(tmp_path):
    """A function that makes a tiny model, the same weights each time, on tmp_path's folders."""

    def make(**settings):
        keras.utils.set_random_seed(1)
        settings = {
            **TINY,
            'size_batch': 4,
            'save_dir': str(tmp_path / 'save'),
            'data_dir': str(tmp_path),
            'dataset_name': 'faces',
            **settings,
        }
        return FaceAging(**settings)

    return make


@pytest.fixture
def vivid(tiny):
    """A function that makes a tiny model whose faces differ, and saves it in its save_dir.

    With weights as small as the initial ones every code, age and gender has the same grey face.
    """

    def make(**settings):
        model, random = tiny(is_training=False, **settings), np.random.RandomState(1)
        for name, variable in model.named_variables.items():
            if name.endswith('/w') and name[0] in 'EG':
                scale = 1.4 / np.sqrt(np.prod(variable.shape[:-2]) * min(variable.shape[-2:]))
                variable.assign(random.normal(scale=scale, size=variable.shape))
        model.save_checkpoint()
        return model

    return make


@pytest.fixture
def bundled(vivid, tmp_path, monkeypatch):
    """A tiny model, which programs open as the bundled weights; they run in tmp_path."""
    model = vivid(save_dir=str(tmp_path / 'bundled'))
    monkeypatch.setattr('face_aging.FaceAging', functools.partial(FaceAging, **TINY))
    monkeypatch.setattr('face_aging.INIT_MODEL', 'bundled/checkpoint')
    monkeypatch.chdir(tmp_path)
    return model


@pytest.fixture(scope='session')
def drawn_faces(tmp_path_factory):
    """A folder of 14 made-up faces, not to be changed."""
    folder = tmp_path_factory.mktemp('drawn')
    draw_faces.draw_data_set(folder, 14)
    return folder


@pytest.fixture
def faces(tmp_path, drawn_faces):
    """tmp_path/faces, a data set of 14 made-up faces."""
    folder = tmp_path / 'faces'
    folder.mkdir()
    for path in drawn_faces.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture
def photo():
    """The pixels of a photo, noise."""
    return np.random.RandomState(0).randint(60, 190, (300, 400, 3)).astype(np.uint8)


@pytest.fixture
def find_marks(monkeypatch):
    """Find faces of 50 x 50 pixels side by side, as many as `mark` wrote."""

    def find(pixels):
        return np.array([detector.PLACES * 50 + [50 * k, 0] for k in range(pixels[0, 0, 0] // 20)])

    monkeypatch.setattr(detector, 'find_faces', find)
    monkeypatch.setattr(detector, 'lie_in_place', lambda faces: np.zeros(len(faces), bool))


def mark(path, faces, colour=10):
    """Write a picture in which `find_marks` finds so many faces, up to ten."""
    pixels = np.full([50, 50 * max(faces, 1), 3], colour, np.uint8)
    pixels[0, 0] = 20 * faces + 10
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, 'png')


@pytest.fixture(scope='session')
def savedir(tmp_path_factory, drawn_faces):
    """The save_dir of two epochs of two steps; not to be changed."""
    folder = tmp_path_factory.mktemp('training') / 'save'
    settings = {
        **TINY,
        'size_batch': 4,
        'save_dir': str(folder),
        'data_dir': str(drawn_faces.parent),
        'dataset_name': drawn_faces.name,
    }
    tf.config.run_functions_eagerly(True)
    FaceAging(**settings).train(2, use_init_model=False)
    return folder


@pytest.fixture(scope='session')
def packed_once(savedir, tmp_path_factory):
    return pack_into(savedir, tmp_path_factory.mktemp('packed'))


@pytest.fixture
def packed(packed_once, tmp_path):
    """A folder of packed weights, to be damaged at will."""
    return shutil.copytree(packed_once, tmp_path / 'packed')


def pack_into(savedir, out):
    """Pack the checkpoint of a tiny model into a folder, which is returned."""
    model = FaceAging(is_training=False, save_dir=str(savedir), **TINY)
    assert model.load_checkpoint()
    pack.pack(model, str(out))
    return out


@pytest.fixture
def no_init_model(monkeypatch, tmp_path):
    monkeypatch.setattr('face_aging.INIT_MODEL', str(tmp_path / 'no_init_model'))


@pytest.fixture
def eagerly():
    """Run training steps without a graph: tracing one takes longer than many tiny steps."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(autouse=True)
def usual_precision():
    yield
    keras.config.set_dtype_policy('float32')


@pytest.fixture
def two_devices():
    return tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])


@pytest.fixture
def tiny_main(monkeypatch):
    """main.py with a tiny model behind its flags: a function of the command line's words."""
    import main

    # The sizes among the flags have the defaults of full size.
    tiny = lambda **settings: FaceAging(**{**settings, **TINY})  # noqa: E731
    monkeypatch.setattr('face_aging.FaceAging', tiny)

    def run(*words):
        from absl import flags
        from absl.testing import flagsaver

        with flagsaver.flagsaver():
            main.main(flags.FLAGS(['main.py', *map(str, words)]))

    return run


@pytest.fixture(autouse=True, scope='session')
def usual_signals():
    """Signals act as in a terminal, also where pytest was started by nohup or in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, 'SIGHUP'):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

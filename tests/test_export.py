"""Exports, opened by the runtimes of other programs and by the README that lies beside them."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import ops
from data import labels
from data.console import InputError
from demo import export
from demo.likeness import AgingMethod
from init_model import codes
from tests.test_games import MAN


def papers(model):
    return AgingMethod(model, None, 0, 0)


def run_readme(folder):
    """Run the README's Python in a folder, with a face in it; return the picture it saves."""
    text = (folder / 'README.md').read_text(encoding='utf-8')
    (program,) = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
    with Image.open(MAN) as face:
        face.save(folder / 'face.jpg', quality=100)
    subprocess.run([sys.executable, '-c', program], cwd=folder, check=True, timeout=300)
    with Image.open(folder / 'older.png') as picture:
        return np.asarray(picture).astype(int)


@pytest.mark.parametrize(
    ('format', 'parts'),
    [('saved_model', False), ('saved_model', True), ('litert', True), ('onnx', False)],
)
def test_another_program_sees_the_same_face(vivid, tmp_path, format, parts):
    model, folder = vivid(), tmp_path / 'there' / 'export'
    differences = export.export(papers(model), folder, format, parts)
    suffix = export.SUFFIXES[format]
    names = {'E' + suffix, 'G' + suffix} if parts else {'caae' + suffix}
    assert differences.keys() == names and {*os.listdir(folder)} == names | {'README.md'}
    assert max(differences.values()) <= 1e-4
    assert os.listdir(tmp_path / 'there') == ['export']
    shown = run_readme(folder)
    image = ops.load_image(folder / 'face.jpg', 32)[None]
    inputs = model.E(image), labels.one_hot([8], 10), labels.one_hot([0], 2)
    expected = ops.image_grid(model.G([np.asarray(value) for value in inputs]))
    assert np.abs(shown - expected).mean() < 3  # it stretches and resizes in another order
    assert expected.std() > 20


@pytest.mark.parametrize('format', ['saved_model', 'litert', 'onnx'])
def test_another_program_shows_people_as_the_strips_do(vivid, tmp_path, format):
    model = vivid()
    random = np.random.RandomState(0)
    z, groups = random.uniform(-1, 1, (200, 50)), np.repeat(np.arange(10), 20)
    statistics = codes.measure(z, groups, np.tile([0, 1], 100), 10)
    method = AgingMethod(model, statistics, 1.2, 0.5)
    differences = export.export(method, tmp_path / 'export', format)
    assert max(differences.values()) <= 1e-4
    assert 'age shift 1.2, likeness 0.5' in (tmp_path / 'export' / 'README.md').read_text()
    shown = run_readme(tmp_path / 'export')
    image = ops.load_image(tmp_path / 'export' / 'face.jpg', 32)[None]
    target = labels.one_hot([8], 10), labels.one_hot([0], 2)
    expected = ops.image_grid(method.show(method.look_at(image), *target))
    assert np.abs(shown - expected).mean() < 10  # the photo itself differs, see above


def test_grey_and_other_age_groups(vivid, tmp_path):
    model = vivid(num_input_channels=1, age_upper=(18, 40))
    export.export(papers(model), tmp_path / 'grey', 'litert')
    assert 'years: 0-18, 19-40, over 40.' in (tmp_path / 'grey' / 'README.md').read_text()
    assert run_readme(tmp_path / 'grey').shape == (32, 32)


def test_float16_takes_half_the_space(vivid, tmp_path):
    model = vivid()
    sizes = []
    for float16 in (False, True):
        (difference,) = export.export(
            papers(model), tmp_path / str(float16), 'litert', float16=float16
        ).values()
        assert (1e-5 < difference < 2e-2) == float16
        sizes.append(os.path.getsize(tmp_path / str(float16) / 'caae.tflite'))
    assert sizes[1] < 0.6 * sizes[0]
    with pytest.raises(InputError, match='float16 is for litert, not for onnx'):
        export.export(papers(model), tmp_path / 'no', 'onnx', float16=True)


@pytest.mark.parametrize('fault', ['other weights', 'nan', 'no package', 'full disk'])
def test_a_failed_export_leaves_nothing(vivid, tmp_path, monkeypatch, fault):
    model = vivid()
    (tmp_path / 'there').mkdir()

    def write(network, path, format, float16):
        if fault == 'no package':
            raise ModuleNotFoundError("No module named 'tf2onnx'", name='tf2onnx')
        if fault == 'full disk':
            raise OSError(28, 'No space left on device', path)
        factor = np.float32('nan') if fault == 'nan' else 1.0003
        network.set_weights([factor * value for value in network.get_weights()])
        kept(network, path, format, float16)

    kept = export._write
    monkeypatch.setattr(export, '_write', write)
    says = {
        'other weights': r'caae as saved_model differs by [\d.e-]+ from the model',
        'nan': 'differs by nan from the model',
        'no package': 'needs the package tf2onnx: pip install -r demo/requirements.txt',
        'full disk': 'No space left',
    }
    kind = OSError if fault == 'full disk' else InputError
    with pytest.raises(kind, match=says[fault]):
        export.export(papers(model), tmp_path / 'there' / 'export', 'saved_model')
    assert os.listdir(tmp_path / 'there') == []


def test_nothing_is_overwritten(vivid, tmp_path):
    (tmp_path / 'mine').write_text('precious')
    with pytest.raises(InputError, match='mine is there already: name a new folder'):
        export.export(papers(vivid()), tmp_path / 'mine', 'saved_model')
    assert (tmp_path / 'mine').read_text() == 'precious'


@pytest.mark.slow
def test_the_program_exports_the_bundled_weights(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where save has no checkpoint
    for words in (['saved_model'], ['litert', '--parts', 'True'], ['onnx']):
        dest = tmp_path / words[0]
        export.main([str(dest), '--format', *words])
        assert f'Wrote {dest}/' in capsys.readouterr().out
        assert run_readme(dest).shape == (128, 128, 3)

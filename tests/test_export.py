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


@pytest.mark.parametrize('strength', [(0, 0), (1.2, 0.5)], ids=['the paper', 'strips'])
@pytest.mark.parametrize('format', export.FORMATS)
def test_another_program_sees_the_same_face(vivid, tmp_path, format, strength):
    model, folder = vivid(), tmp_path / 'there' / 'export'
    z = np.random.RandomState(0).uniform(-1, 1, (200, 50))
    statistics = codes.measure(z, np.repeat(np.arange(10), 20), np.tile([0, 1], 100), 10)
    method = AgingMethod(model, statistics, *strength)
    assert export.export(method, folder, format) <= 1e-4
    file, _ = export.FORMATS[format]
    assert {*os.listdir(folder)} == {file, 'README.md'}
    assert os.listdir(tmp_path / 'there') == ['export']
    assert 'shift {:g} and likeness {:g}'.format(*strength) in (folder / 'README.md').read_text()
    shown = run_readme(folder)
    image = ops.load_image(folder / 'face.jpg', 32)[None]
    target = labels.one_hot([8], 10), labels.one_hot([0], 2)
    with Image.open(folder / 'face.jpg') as photo:
        pixels = np.asarray(photo.resize([32, 32])).astype(float)
    expected = (method.show(method.look_at(image), *target)[0] + 1) / 2 * np.ptp(pixels)
    expected += pixels.min()
    # It stretches and resizes in another order, and the likeness keeps this.
    assert np.abs(shown - expected).mean() < (10 if strength[1] else 3)
    assert expected.std() > 20


def test_other_age_groups(vivid, tmp_path):
    export.export(papers(vivid(age_upper=(18, 40))), tmp_path / 'three', 'litert')
    assert 'years: 0-18, 19-40, over 40.' in (tmp_path / 'three' / 'README.md').read_text()
    assert run_readme(tmp_path / 'three').shape == (32, 32, 3)


@pytest.mark.parametrize(
    ('fault', 'says'),
    [
        (1.0003, r'caae differs by [\d.e-]+ from the model'),
        (np.nan, 'differs by nan from the model'),
        (ModuleNotFoundError(name='tf2onnx'), 'the package tf2onnx: pip install -r demo/requirem'),
        (OSError(28, 'No space left on device'), 'No space left'),
    ],
)
def test_a_failed_export_leaves_nothing(vivid, tmp_path, monkeypatch, fault, says):
    """With other weights than the model's, or after an error."""

    def write(network, *where):
        if isinstance(fault, Exception):
            raise fault
        network.set_weights([np.float32(fault) * value for value in network.get_weights()])
        kept(network, *where)

    kept = export._write
    monkeypatch.setattr(export, '_write', write)
    (tmp_path / 'there').mkdir()
    with pytest.raises((InputError, OSError), match=says):
        export.export(papers(vivid()), tmp_path / 'there' / 'export', 'saved_model')
    assert os.listdir(tmp_path / 'there') == []


def test_nothing_is_overwritten(vivid, tmp_path):
    (tmp_path / 'mine').write_text('precious')
    with pytest.raises(InputError, match='mine is there already: name a new folder'):
        export.export(papers(vivid()), tmp_path / 'mine', 'saved_model')
    assert (tmp_path / 'mine').read_text() == 'precious'


@pytest.mark.slow
def test_the_program_exports_the_bundled_weights(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where save has no checkpoint
    for format in export.FORMATS:
        dest = tmp_path / format
        export.main([str(dest), '--format', format])
        assert f'Wrote {dest}/' in capsys.readouterr().out
        assert run_readme(dest).shape == (128, 128, 3)

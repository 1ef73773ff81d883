"""The notebook shows pictures to readers on the web, and runs from its first cell to its last."""

import os
import re
import signal

import nbclient
import nbformat
import pytest
from tensorboard import manager

from tests.test_main import ROOT

MOST = 400_000  # bytes of the file


@pytest.fixture
def notebook():
    return nbformat.read(ROOT / 'demo' / 'caae.ipynb', as_version=4)


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get('outputs', [])]


def test_stored_outputs(notebook):
    """They have pictures, are small, and name no folder of the machine that made them."""
    kinds = [kind for output in outputs(notebook) for kind in output.get('data', {})]
    assert kinds.count('image/jpeg') == 7 and kinds.count('image/gif') == 1
    assert len(nbformat.v4.writes(notebook)) < MOST
    text = ' '.join(output.get('text', '') for output in outputs(notebook))
    assert 'Done!' in text and re.findall(r'(?:^|[\s"\'=(])(?:/|~|\w:\\)[\w.]+[/\\]', text) == []


@pytest.mark.slow
def test_the_notebook_runs(notebook, tmp_path):
    (tmp_path / 'demo').mkdir()
    names = ['main.py', 'face_aging.py', 'ops.py', 'requirements.txt', 'data', 'init_model']
    for name in [*names, *(f'demo/{path.name}' for path in (ROOT / 'demo').iterdir())]:
        (tmp_path / name).symlink_to(ROOT / name)
    client = nbclient.NotebookClient(
        notebook, timeout=1800, resources={'metadata': {'path': tmp_path / 'demo'}}
    )
    try:
        client.execute()
    finally:
        for info in manager.get_all():  # TensorBoard outlives the kernel
            if 'save/notebook' in info.logdir:
                os.kill(info.pid, signal.SIGTERM)
    kinds = [kind for output in outputs(notebook) for kind in output.get('data', {})]
    assert kinds.count('image/jpeg') == 7 and kinds.count('image/gif') == 1
    assert any('tensorboard-frame' in str(output) for output in outputs(notebook))
    assert (tmp_path / 'save' / 'notebook' / 'history.csv').read_text().count('\n') == 2

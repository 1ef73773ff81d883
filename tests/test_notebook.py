"""The notebook runs from its first cell to its last."""

import os
import signal

import nbclient
import nbformat
import pytest
from tensorboard import manager

from tests.test_main import ROOT

MOST = 300_000  # bytes of a stored output


@pytest.fixture
def notebook():
    return nbformat.read(ROOT / 'demo' / 'caae.ipynb', as_version=4)


def test_no_large_output_is_stored(notebook):
    for cell in notebook.cells:
        assert len(nbformat.v4.writes(nbformat.v4.new_notebook(cells=[cell]))) < MOST


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
    shown = [output for cell in notebook.cells for output in cell.get('outputs', [])]
    kinds = [kind for output in shown for kind in output.get('data', {})]
    assert [kinds.count(f'image/{kind}') for kind in ('png', 'gif', 'jpeg')] == [2, 1, 3]
    assert any('tensorboard-frame' in str(output) for output in shown)
    assert (tmp_path / 'save' / 'notebook' / 'history.csv').read_text().count('\n') == 2

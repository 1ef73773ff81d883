"""The rooms of the house: which module may import which, the names at the top."""

import ast
import re
import subprocess

import pytest

from tests.test_main import ROOT

# A room imports itself and rooms after it; ops only three modules of data, and none of data imports
# ops.
ROOMS = ('main', 'demo', 'face_aging', 'init_model', 'ops', 'data')
OPS_IMPORTS = {'data.console', 'data.devices', 'data.pictures'}
WITHOUT_TENSORFLOW = {'data', 'data.console', 'data.files', 'data.limits', 'data.pictures'}
WITHOUT_TENSORFLOW |= {'data.tables'}
TENSORFLOW = {'tensorflow', 'keras', 'tensorboard'}
TOP = {'main.py', 'face_aging.py', 'ops.py', 'init_model', 'data', 'demo', 'findings', 'tests'}
TOP |= {'requirements.txt', 'README.md', 'LICENSE', 'CITATION.cff', 'CONTRIBUTING.md'}
TOP |= {'pyproject.toml', '.ci', '.gitignore'}
MODULES = {
    '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__'): path
    for room in ROOMS
    for path in [ROOT / f'{room}.py', *sorted((ROOT / room).rglob('*.py'))]
    if path.exists()
}


def imported(source, without=None):
    """Return the dotted names that a module's text imports, but for those in a function of it."""
    tree, names = ast.parse(source), set()
    if without:
        tree.body = [node for node in tree.body if getattr(node, 'name', None) != without]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {
                f'{node.module}.{alias.name}' if node.module in ROOMS else node.module
                for alias in node.names
            }
    return names


@pytest.mark.parametrize('name', MODULES)
def test_imports_run_one_way(name):
    source = MODULES[name].read_text(encoding='utf-8')
    room, names = name.split('.')[0], imported(source)
    if room in ('main', 'init_model'):  # the latter's programs open a model
        assert 'demo' not in {other.split('.')[0] for other in names}
        names = imported(source, 'main') if room == 'init_model' else names
    for other in names:
        if other.split('.')[0] in ROOMS and other.split('.')[0] != room:
            assert ROOMS.index(other.split('.')[0]) > ROOMS.index(room), f'{name} imports {other}'
            assert room != 'ops' or other in OPS_IMPORTS, f'{name} imports {other}'
    if name in WITHOUT_TENSORFLOW:
        inner = {other for other in names if other.startswith('data.')}
        assert inner <= WITHOUT_TENSORFLOW | {'data.console.prepare'}
        assert not {other.split('.')[0] for other in names} & TENSORFLOW


def test_names_at_the_top():
    words = ['git', 'ls-files', '--cached', '--others', '--exclude-standard']
    try:
        listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip('this is no clone')
    assert {line.strip('"').split('/')[0] for line in listed.stdout.splitlines()} <= TOP


def test_the_version_is_the_same_everywhere():
    project, citation = (
        (ROOT / name).read_text(encoding='utf-8') for name in ('pyproject.toml', 'CITATION.cff')
    )
    version = re.search(r'^version = "([\d.]+)"$', project, re.MULTILINE)[1]
    assert f'\nversion: {version}\n' in citation

"""The rooms of the house: which module may import which, the names at the top."""

import ast
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# A room imports itself and rooms after it; ops only three modules of data, and none of data imports
# ops.
ROOMS = ('main', 'demo', 'face_aging', 'init_model', 'ops', 'data')
OPS_IMPORTS = {'data.console', 'data.devices', 'data.pictures'}
WITHOUT_TENSORFLOW = {'data', 'data.console', 'data.files', 'data.limits', 'data.pictures'}
WITHOUT_TENSORFLOW |= {'data.tables'}
TENSORFLOW = {'tensorflow', 'keras', 'tensorboard'}
TOP = {'main.py', 'face_aging.py', 'ops.py', 'init_model', 'data', 'demo', 'findings', 'tests'}
TOP |= {'requirements.txt', 'README.md', 'LICENSE', '.ci', '.gitignore', '.ruff.toml'}
MODULES = {
    '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__'): path
    for room in ROOMS
    for path in [ROOT / f'{room}.py', *sorted((ROOT / room).rglob('*.py'))]
    if path.exists()
}


# Their function `main` opens a model, from a room above.
PROGRAMS_ABOVE = {'init_model.codes', 'init_model.export'}


def imported(source, but_main=False):
    """Return the dotted names that a module's text imports; but_main: not in its `main`."""
    tree, names = ast.parse(source), set()
    if but_main:
        tree.body = [node for node in tree.body if getattr(node, 'name', None) != 'main']
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {
                f'{node.module}.{alias.name}' if node.module in ROOMS else node.module
                for alias in node.names
            }
    return names


def test_imports_are_seen():
    source = (
        'import os, data\ndef f():\n    from data import labels\n    from data.files import x\n'
        'def main():\n    import demo\n'
    )
    names = {'os', 'data', 'data.labels', 'data.files'}
    assert imported(source, but_main=True) == names
    assert imported(source) == names | {'demo'}


@pytest.mark.parametrize('name', MODULES)
def test_imports_run_one_way(name):
    source = MODULES[name].read_text(encoding='utf-8')
    room, names = name.split('.')[0], imported(source, name in PROGRAMS_ABOVE)
    if room == 'main':
        assert not {other for other in names if other.split('.')[0] == 'demo'}
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

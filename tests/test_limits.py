"""The memory and processors that a container leaves to its processes, by made-up cgroup files."""

import os
import pathlib
import threading
import types

import numpy as np
import pytest

from data import align, check, files, limits, pictures, pipeline

ROOT = pathlib.Path(limits.__file__).parents[1]
GB = 10**9
FREE = 17 * GB  # of the host
UNLIMITED = 9223372036854771712  # of version 1


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host of 64 processors: a function of its files, a dict from paths to texts."""
    gauge = types.SimpleNamespace(available=FREE)
    monkeypatch.setattr('psutil.virtual_memory', lambda: gauge)
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(limits, 'ROOT', str(tmp_path))

    def write(texts):
        for name, text in texts.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else str(text).encode())

    return write


def version_1(path, limit=UNLIMITED / GB, used=0, quota=-1):
    """Return the files of a group of version 1, in GB; path is below the mount."""
    memory, cpu = f'sys/fs/cgroup/memory{path}', f'sys/fs/cgroup/cpu{path}'
    return {
        f'{memory}/memory.limit_in_bytes': round(limit * GB),
        f'{memory}/memory.usage_in_bytes': round(used * GB),
        f'{memory}/memory.stat': 'inactive_file 1\ntotal_inactive_file 100000000\n',
        f'{cpu}/cpu.cfs_quota_us': quota,
        f'{cpu}/cpu.cfs_period_us': 50_000,
    }


def version_2(path, limit=None, used=0, quota='max', high=None):
    """Return the files of a group of version 2, in GB; path is below the mount."""
    folder = f'sys/fs/cgroup{path}'
    return {
        f'{folder}/memory.max': round(limit * GB) if limit else 'max',
        f'{folder}/memory.high': round(high * GB) if high else 'max',
        f'{folder}/memory.current': round(used * GB),
        f'{folder}/memory.stat': 'anon 5\ninactive_file 100000000\nactive_file 7\n',
        f'{folder}/cpu.max': f'{quota} 50000',
    }


V1, V2 = '5:memory:{0}\n4:cpu,cpuacct:{0}\n0::/\n', '0::{0}\n'
VERSIONS = {1: (V1, version_1), 2: (V2, version_2)}
# The group of the process, what groups say, and what then is free: memory and processors.
CASES = {
    'limits': ('/', {'': {'limit': 2.5, 'used': 0.6, 'quota': 100_000}}, 2 * GB, 2),
    'a group around it': (
        '/pod/box',
        {
            '': {},
            '/pod': {'limit': 3, 'used': 2, 'quota': 75_000},
            '/pod/box': {'limit': 4, 'used': 1, 'quota': 200_000},
        },
        1.1 * GB,
        2,
    ),
    'a path of the host': ('/docker/01', {'': {'limit': 2, 'quota': 20_000}}, 2.1 * GB, 1),
    'more is used than allowed': ('/', {'': {'limit': 1, 'used': 2}}, 0, 64),
}
ODD_CASES = {
    'no files': ('', {}),
    'garbage': (
        b'\xff\n:\n0::/x\0y/..\n\n7:memory\n5:memory:/a\n0::/\n',
        {
            'sys/fs/cgroup/memory.max': '',
            'sys/fs/cgroup/memory.high': 'many',
            'sys/fs/cgroup/memory.current': b'\xff\xfe',
            'sys/fs/cgroup/cpu.max': 'a lot 50000',
            'sys/fs/cgroup/memory/memory.limit_in_bytes': '0x7f',
            'sys/fs/cgroup/memory/a/memory.limit_in_bytes': GB,
            'sys/fs/cgroup/memory/a/memory.usage_in_bytes': 'none',
            'sys/fs/cgroup/cpu/a/cpu.cfs_quota_us': '-',
        },
    ),
    'no use, no statistics, no period': (
        V2.format('/'),
        {
            'sys/fs/cgroup/memory.max': GB,
            'sys/fs/cgroup/cpu.max': '100000 0',
            'sys/fs/cgroup/memory.stat': b'\x00\xffinactive_file',
        },
    ),
}


@pytest.mark.parametrize('version', VERSIONS)
@pytest.mark.parametrize('case', CASES)
def test_limits(host, version, case):
    path, groups, memory, processors = CASES[case]
    group, files_of = VERSIONS[version]
    host({'proc/self/cgroup': group.format(path)})
    for path, values in groups.items():
        host(files_of(path, **values))
    assert limits.available_memory() == memory
    assert limits.cpu_count() == processors


def test_a_limit_that_slows_down_counts(host):
    host({'proc/self/cgroup': V2.format('/'), **version_2('', high=1, limit=2)})
    assert limits.available_memory() == 1.1 * GB


@pytest.mark.parametrize('case', ODD_CASES)
def test_no_limits(host, case):
    group, texts = ODD_CASES[case]
    host({'proc/self/cgroup': group, **texts})
    assert limits.available_memory() == FREE
    assert limits.cpu_count() == 64


def test_fewer_processors_by_affinity(host, monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: {3, 5}, raising=False)
    assert limits.cpu_count() == 2
    monkeypatch.delattr(os, 'sched_getaffinity')  # as on macOS and Windows
    monkeypatch.setattr(os, 'cpu_count', lambda: 8)
    assert limits.cpu_count() == 8


def test_tensorflow_starts_as_many_threads_as_the_quota_allows(host, monkeypatch):
    names = 'TF_NUM_INTRAOP_THREADS', 'TF_NUM_INTEROP_THREADS'
    for name in names:
        monkeypatch.setenv(name, '')  # restored afterwards
        monkeypatch.delenv(name)
    limits.limit_tensorflow()
    assert not {*names} & {*os.environ}  # its own choice is right without a quota
    monkeypatch.setenv(names[0], '7')  # the user's
    host({'proc/self/cgroup': V2.format('/'), **version_2('', quota=120_000)})
    limits.limit_tensorflow()
    assert [os.environ[name] for name in names] == ['7', '3']


def test_a_training_in_a_container_leaves_itself_room(host, faces, monkeypatch):
    """The faces alone would fit, a training beside them would not."""
    monkeypatch.setattr('shutil.disk_usage', lambda _: types.SimpleNamespace(free=FREE))
    monkeypatch.setattr('data.labels.require_batches', lambda *_: None)
    for limit, batch, kind in (
        (2.5, 4, np.ndarray),
        (2.5, 1000, np.memmap),  # a step takes more than that
        (0.9, 4, np.ndarray),
        (0.3, 4, np.memmap),
    ):
        host({'proc/self/cgroup': V2.format('/'), **version_2('', limit=limit, used=0.1)})
        (decoded, *_), _ = pipeline.load_data_set(str(faces), batch)
        assert type(decoded) is kind


def most_at_once(monkeypatch, module, name):
    """Return a list that gets the number of calls of module.name which run at the same time."""
    running, counts, lock, call = [], [], threading.Lock(), getattr(module, name)
    other = threading.Event()

    def counting(*args, **settings):
        with lock:
            running.append(1)
            counts.append(len(running))
            if len(running) > 1:
                other.set()
        other.wait(0.05)  # for a second one, if there is any
        try:
            return call(*args, **settings)
        finally:
            with lock:
                running.pop()

    monkeypatch.setattr(module, name, counting)
    return counts


@pytest.mark.parametrize('quota', [50_000, 100_000])
def test_as_many_threads_read_pictures_as_there_are_processors(host, faces, monkeypatch, quota):
    host({'proc/self/cgroup': V2.format('/'), **version_2('', quota=quota)})
    paths = files.list_images(str(faces))
    for module, name, read in (
        (pictures, 'to_face', lambda: pipeline.decode_faces(paths, 32)),
        (check, 'look_at', lambda: check.look_at_all(paths)),
    ):
        counts = most_at_once(monkeypatch, module, name)
        read()
        assert len(counts) == 14 and max(counts) <= quota / 50_000


def test_faces_are_cut_out_by_no_more_processes_than_there_is_room_for(host, monkeypatch):
    started = []

    class Pool:
        def __init__(self, workers, *_):
            started.append(workers)
            self.map = lambda do, *args, **_: map(lambda *_: '', *args)

        def shutdown(self, **_):
            pass

    monkeypatch.setattr('concurrent.futures.ProcessPoolExecutor', Pool)
    paths = [str(i) for i in range(1000)]
    for values, workers in (
        ({}, 15),  # of 17 GB
        ({'quota': 150_000}, 3),
        ({'quota': 150_000, 'limit': 2.5}, 2),
    ):
        host({'proc/self/cgroup': V2.format('/'), **version_2('', **values)})
        assert len([*align._align_files(paths, paths)]) == 1000
        assert started.pop() == workers

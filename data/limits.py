"""What this process may use: memory and processors, also where a container has fewer than the host.

A container's limits are those of its control group (cgroup, of version 1 or 2) and of the groups
around it. They are files of Linux; where one is missing or cannot be read, there is no such limit.
"""

import math
import os
import re

import psutil

ROOT = '/'  # of the file system; tests name another
# Files of a limit in bytes and of what is used; above memory.high the system only slows down.
MEMORY = (
    ('memory.max', 'memory.current'),
    ('memory.high', 'memory.current'),
    ('memory.limit_in_bytes', 'memory.usage_in_bytes'),
)
# Files of a quota and of its period, in microseconds of one processor; -1 is no quota.
QUOTAS = (('cpu.max',), ('cpu.cfs_quota_us', 'cpu.cfs_period_us'))


def available_memory():
    """Return how many more bytes of memory this process can take."""
    free = [psutil.virtual_memory().available]
    for folder in _groups('memory'):
        for names in MEMORY:
            numbers = _numbers(folder, names)
            if len(numbers) == 2:
                limit, used = numbers
                free.append(limit - used + _reclaimable(folder))
    return max(min(free), 0)


def cpu_count():
    """Return how many threads can compute at once: processors, or fewer by affinity or quota."""
    return max(math.ceil(min(_processors(), _quota())), 1)


def limit_tensorflow():
    """Let TensorFlow, before it is imported, start no more threads than a quota has processors for.

    By default it starts one for each processor of its affinity, whatever the quota. Numbers that
    the user has set stay.
    """
    if _quota() < _processors():
        for name in ('TF_NUM_INTRAOP_THREADS', 'TF_NUM_INTEROP_THREADS'):
            os.environ.setdefault(name, str(cpu_count()))


def _processors():
    """Return the number of processors that this process may run on."""
    if hasattr(os, 'sched_getaffinity'):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota():
    """Return how many processors this process may keep busy, a float; infinity for all."""
    quota = math.inf
    for folder in _groups('cpu'):
        for names in QUOTAS:
            numbers = _numbers(folder, names)
            if len(numbers) == 2 and min(numbers) > 0:
                quota = min(quota, numbers[0] / numbers[1])
    return quota


def _groups(controller):
    """Yield the folders of this process's group and of those around it, as far as they are seen.

    Args:
        controller: 'memory' or 'cpu'.
    """
    for line in _text('proc', 'self', 'cgroup').splitlines():
        _, controllers, path = (line + '::').split(':')[:3]
        if not controllers:  # version 2
            mounts = ('', 'unified')
        elif controller in controllers.split(','):
            mounts = (controller,)
        else:
            mounts = ()
        for mount in mounts:
            top = os.path.join('sys', 'fs', 'cgroup', mount)
            parts = _seen(top, [part for part in path.split('/') if part])
            for count in range(len(parts), -1, -1):
                yield os.path.join(top, *parts[:count])


def _seen(top, parts):
    """Return the part of a group's path that exists below a mount.

    A container may see only the groups from its own one on, at the mount's root, and yet read the
    host's whole path in /proc.
    """
    if '..' in parts:  # a group outside of what the container sees
        return []
    while parts and not os.path.isdir(os.path.join(ROOT, top, *parts)):
        parts = parts[1:]
    return parts


def _numbers(folder, names):
    """Return the numbers in some files of a group; [] where there is no file, or it has none."""
    words = [word for name in names for word in _text(folder, name).split()]
    try:
        return [int(word) for word in words]
    except ValueError:  # such as 'max', which is no limit
        return []


def _reclaimable(folder):
    """Return how many of a group's used bytes are cached files that the system drops at need."""
    pairs = dict(re.findall(r'^(\w+) (\d+)$', _text(folder, 'memory.stat'), re.MULTILINE))
    return int(pairs.get('total_inactive_file', pairs.get('inactive_file', 0)))


def _text(*parts):
    """Return the text of a file below ROOT; '' if it cannot be read."""
    try:
        with open(os.path.join(ROOT, *parts), encoding='utf-8', errors='replace') as file:
            return file.read()
    except OSError:
        return ''

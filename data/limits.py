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


def available_memory() -> int:
    """Return how many more bytes of memory this process can take."""
    free = [psutil.virtual_memory().available]
    for folder in _groups('memory'):
        stat = dict(re.findall(r'^(\w+) (\d+)$', _text(folder, 'memory.stat'), re.MULTILINE))
        # Cached files, which the system drops at need.
        dropped = int(stat.get('total_inactive_file', stat.get('inactive_file', 0)))
        free += [limit - used + dropped for limit, used in _pairs(folder, MEMORY)]
    return max(min(free), 0)


def cpu_count() -> int:
    """Return how many threads can compute at once: processors, or fewer by affinity or quota."""
    return max(math.ceil(min(_processors(), _quota())), 1)


def limit_tensorflow() -> None:
    """Let TensorFlow, before it is imported, start no more threads than a quota has processors for.

    By default it heeds its affinity alone. Numbers that the user has set stay.
    """
    if _quota() < _processors():
        for name in ('TF_NUM_INTRAOP_THREADS', 'TF_NUM_INTEROP_THREADS'):
            os.environ.setdefault(name, str(cpu_count()))


def _processors():
    if hasattr(os, 'sched_getaffinity'):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota():
    """Return how many processors this process may keep busy, a float; infinity for all."""
    pairs = [pair for folder in _groups('cpu') for pair in _pairs(folder, QUOTAS)]
    shares = [quota / period for quota, period in pairs if min(quota, period) > 0]
    return min(shares, default=math.inf)


def _groups(controller):
    """Yield the folders of this process's group and of those around it, for 'memory' or 'cpu'.

    Some may not exist: in a container /proc has the host's path, but the mount only its own group.
    """
    for line in _text('proc', 'self', 'cgroup').splitlines():
        _, controllers, path = (line + '::').split(':')[:3]
        if controllers and controller not in controllers.split(','):
            continue
        parts = [part for part in path.split('/') if part]
        for count in range(len(parts) + 1):  # version 2 has no controllers
            yield os.path.join('sys', 'fs', 'cgroup', controllers and controller, *parts[:count])


def _pairs(folder, files):
    """Yield the two numbers in each of some files, or pairs of files, of a group."""
    for names in files:
        words = [word for name in names for word in _text(folder, name).split()]
        if len(words) == 2 and all(re.fullmatch('-?[0-9]+', word) for word in words):
            yield int(words[0]), int(words[1])  # other words, such as 'max', are no limit


def _text(*parts):
    try:
        with open(os.path.join(ROOT, *parts), encoding='utf-8', errors='replace') as file:
            return file.read()
    except (OSError, ValueError):  # the latter for a zero in its name
        return ''

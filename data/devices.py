"""The devices and machines of a training: choosing them, sharing batches, agreeing on steps."""

import contextlib
import json
import os
import re
import socket
import time
import warnings
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from data.console import InputError, say

# TensorFlow's errors where a worker does not answer.
LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)

BFLOAT16 = {'avx512_bf16', 'amx_bf16', 'bf16'}  # processors with one of these compute in it


def allow_growth() -> None:
    """Let TensorFlow take a GPU's memory as it is needed, not all at once, as the original does.

    To be called before anything is computed; later it changes nothing.
    """
    for gpu in tf.config.list_physical_devices('GPU'):
        with contextlib.suppress(RuntimeError, ValueError):  # in use, or divided by the caller
            tf.config.experimental.set_memory_growth(gpu, True)


def choose_strategy() -> tf.distribute.Strategy:
    """Choose how a training is spread over devices.

    It uses all machines that TF_CONFIG names, if it is set; else all GPUs, if there are several;
    else TensorFlow's default device. To be called before anything is computed. A warning says where
    the precision that is set in Keras is slow.

    Raises:
        InputError: TF_CONFIG does not describe the machines, or not this one.
    """
    _warn_of_slow_precision()
    text = os.environ.get('TF_CONFIG')
    if text:
        try:
            config = json.loads(text)
            task, cluster = config['task'], config['cluster']
            _wait_for_all(cluster, cluster[task['type']][int(task['index'])])
            return tf.distribute.MultiWorkerMirroredStrategy()
        except (
            ValueError,
            TypeError,
            AttributeError,
            LookupError,
            OSError,
            tf.errors.OpError,
        ) as error:
            reason = repr(error).splitlines()[0]
            raise InputError(
                f'TF_CONFIG does not describe machines with this one among them ({reason}): set it '
                'as tests/README.md, "Several machines", shows, or unset it to train on this '
                'machine alone.'
            ) from error
    if len(tf.config.list_physical_devices('GPU')) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def _wait_for_all(cluster, own):
    """Wait until all machines answer: while TensorFlow waits for them, no signal ends the process.

    Args:
        cluster: dict of lists of addresses, host:port.
        own: this machine's address.
    """
    all_workers = [address for addresses in cluster.values() for address in addresses]
    missing, is_told = [address for address in all_workers if address != own], False
    is_dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if is_dual else socket.AF_INET
    port = int(own.rpartition(':')[2])
    with socket.create_server(('', port), family=family, dualstack_ipv6=is_dual):  # answers others
        while missing := [address for address in missing if not _answers(address)]:
            if not is_told:
                say(f'\tWaiting for the other {len(missing)} of {len(all_workers)} workers ...')
                is_told = True
            time.sleep(0.5)


def _answers(address):
    host, _, port = address.rpartition(':')
    try:
        socket.create_connection((host.strip('[]'), int(port)), timeout=5).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def lost_workers(strategy: tf.distribute.Strategy, folder: str) -> Iterator[None]:
    """Within the block, raise an InputError where another worker is lost.

    Args:
        folder: to which the workers save, for the message.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if strategy.cluster_resolver is None or not isinstance(error, LOST):
            raise
        reason = error.message.splitlines()[0]
        raise InputError(
            f'Another worker has ended, or the network ({reason}): start all workers again, and '
            f'they go on from the newest checkpoint in {folder}.'
        ) from error


def _warn_of_slow_precision():
    """Warn if the processor is known to emulate the precision that Keras computes in."""
    precision = keras.config.dtype_policy().compute_dtype
    if emulates(precision):
        warnings.warn(
            f'This processor emulates {precision} by float32, which is faster alone: take float32.',
            stacklevel=3,
        )


def emulates(precision: str) -> bool:
    """Whether layers would compute in a dtype for which the processor has no instructions.

    Args:
        precision: name of the dtype. A GPU computes in each of them.
    """
    if precision == 'float32' or tf.config.list_physical_devices('GPU'):
        return False
    known = _processor_flags()
    return precision == 'float16' or (bool(known) and not known & BFLOAT16)


def _processor_flags():
    """Return the set of the processor's abilities, named as in Linux; empty where unknown."""
    try:
        with open('/proc/cpuinfo', encoding='utf-8') as file:
            line = re.search(r'^(?:flags|Features)\s*:(.*)', file.read(), re.MULTILINE)
    except OSError:
        return set()
    return {*line[1].split()} if line else set()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes files: of several machines, only the first does."""
    resolver = strategy.cluster_resolver
    if resolver is None or resolver.task_type == 'chief':
        return True
    return resolver.task_id == 0 and 'chief' not in resolver.cluster_spec().jobs


def require_equal_shares(strategy: tf.distribute.Strategy, size_batch: int) -> None:
    """Raise an InputError if a batch cannot be divided equally among the devices, two faces each.

    Batch norm subtracts the mean of a device's faces; of one face nothing is left.
    """
    count = strategy.num_replicas_in_sync
    if size_batch < 2 * count:
        raise InputError(
            f'A batch of {size_batch} leaves fewer than two faces to a device, of which the '
            f'discriminators learn nothing (batch norm): take {2 * count} or more.',
            batch_size=2 * count,
        )
    if size_batch % count:
        more = -(-size_batch // count) * count
        raise InputError(
            f'A batch of {size_batch} cannot be shared by {count} devices: take {more}, or another '
            f'multiple of {count}.',
            batch_size=more,
        )


def share(strategy: tf.distribute.Strategy, value: np.ndarray) -> tf.distribute.DistributedValues:
    """Spread an array [B, ...] over the replicas, in order."""
    size = len(value) // strategy.num_replicas_in_sync

    def of_replica(context):
        first = context.replica_id_in_sync_group * size
        return tf.convert_to_tensor(value[first : first + size])

    return strategy.experimental_distribute_values_from_function(of_replica)


def on_each(strategy: tf.distribute.Strategy, step: Callable) -> Callable:
    """Compile a training step, so that each device does its part of it.

    Args:
        step: function from a device's share of a batch to (losses, outputs), two dicts; the losses
            are the same on each, see `mean`.

    Returns:
        function from a batch, of which each array is what `share` returns, to (losses, outputs);
        the outputs are those of this process's devices, one after another.
    """

    @tf.function(autograph=False)
    def compiled(*batch):
        losses, outputs = strategy.run(step, batch)
        local = strategy.experimental_local_results
        losses = {name: local(values)[0] for name, values in losses.items()}
        return losses, {name: tf.concat(local(values), 0) for name, values in outputs.items()}

    return compiled


def mean(values):
    """Return the mean of each of some nested tensors over the devices, in a step of `on_each`."""
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, values)


def on_any_worker(strategy: tf.distribute.Strategy, flag: object) -> bool:
    """Whether a flag is set on any worker; all workers must call this at the same step."""
    if strategy.cluster_resolver is None:
        return bool(flag)
    return _sum_over_replicas(strategy, float(bool(flag))) > 0


def meet_workers(strategy: tf.distribute.Strategy, step: int) -> None:
    """Wait for all workers; raise an InputError if they are not at the same step."""
    total, square = (_sum_over_replicas(strategy, value) for value in (step, step**2))
    if total**2 != square * strategy.num_replicas_in_sync:
        raise InputError(
            'The workers found different checkpoints: give all of them the same folder to save to, '
            'on a disk that they share.'
        )


def _sum_over_replicas(strategy, value):
    """Return the sum of a number over all replicas, a float."""
    # NumPy's: TensorFlow caches a tensor per Python number.
    values = strategy.experimental_distribute_values_from_function(
        lambda _: tf.constant(np.array(value, float))
    )
    return float(strategy.reduce('SUM', values, axis=None))

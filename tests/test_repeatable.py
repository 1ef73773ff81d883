"""A training step gives the same bits each time, at any size and with all losses in use."""

import keras
import numpy as np
import pytest
from tensorflow.python.eager import context

from tests.conftest import random_batch


def sums(graphs):
    """The number of summands of every sum in some GraphDefs."""
    for graph in graphs:
        for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
            for node in nodes:
                if node.op in ('AddN', 'AccumulateNV2'):
                    yield sum(not name.startswith('^') for name in node.input)


@pytest.mark.parametrize(
    ('precision', 'weights'),
    [
        ('float32', (1e-4, 0, 0)),
        ('float32', (1e-4, 0.1, 0.1)),
        ('mixed_bfloat16', (1e-4, 0.1, 0.1)),
    ],
)
def test_no_sum_whose_order_may_change(tiny, precision, weights):
    """TensorFlow adds more than two tensors in an order that depends on timing, see `ops.fork`."""
    keras.config.set_dtype_policy(precision)
    model = tiny()
    model._compile(0.0002, 0.5, weights)
    context.context().enable_run_metadata()
    image, *rest = random_batch(4)
    model.train_step((127 * image + 128).astype(np.uint8), *rest)
    graphs = context.context().export_run_metadata().function_graphs
    context.context().disable_run_metadata()
    written = list(sums(graph.pre_optimization_graph for graph in graphs))
    run = list(sums(graph.post_optimization_graph for graph in graphs))  # some are merged there
    assert written and run and max(written + run) == 2

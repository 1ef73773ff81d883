"""The port computes what the original computed."""

import re

import numpy as np
import tensorflow as tf

import face_aging
import ops
from tests.conftest import GOLDEN, Golden

FORWARD = 'z', 'D_z_logits', 'D_z_prior_logits', 'D_G_logits', 'D_input_logits'


def test_variables_are_the_originals(golden):
    model = golden.model()
    shapes = {
        name: list(v.shape) for name, v in model.named_variables.items() if 'moving' not in name
    }
    assert shapes == golden.settings['variables']
    if golden.settings['size_image'] == 128:
        assert sum(np.prod(v.shape) for v in model.named_variables.values()) == 46_866_071


def test_forward(golden):
    outputs = golden.model().forward(*golden.inputs)
    for name in FORWARD:
        np.testing.assert_allclose(
            outputs[name], golden.numbers[name], rtol=1e-3, atol=1e-4, err_msg=name
        )
    strided = outputs['G'][:, ::8, ::8]
    np.testing.assert_allclose(strided, golden.numbers['G_strided'], rtol=1e-3, atol=1e-4)


def test_losses_and_gradients(golden, monkeypatch, eagerly):
    model, norms = golden.model(), {}
    names = {v.path: name for name, v in model.named_variables.items()}
    for optimizer in model.optimizers:  # what a step hands to its optimizers
        monkeypatch.setattr(
            optimizer,
            'apply',
            lambda gradients, variables: norms.update(
                (names[v.path], float(tf.norm(g)))
                for g, v in zip(gradients, variables, strict=True)
            ),
        )
    losses = model.train_step(*golden.inputs)
    expected = {name[5:]: v[0] for name, v in golden.numbers.items() if name.startswith('loss/')}
    assert set(losses) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(losses[name], value, rtol=1e-4, err_msg=name)
    assert set(norms) == set(golden.variables)
    # In full128 the original's own norms are up to 5e-4 off those in float64, and plain TensorFlow
    # 2 with other processor instructions up to 1.5e-3. A bias before batch norm has no gradient
    # but rounding errors.
    tolerance = 1e-4 if golden.settings['size_image'] == 32 else 2e-3
    for name, norm in norms.items():
        expected = golden.numbers[f'grad_norm/{name}']
        np.testing.assert_allclose(norm, expected, rtol=tolerance, atol=1e-5, err_msg=name)


def test_three_steps(golden):
    model = golden.model()
    for step in range(golden.settings['steps']):
        losses = model.train_step(*golden.inputs)
        for name, value in losses.items():
            # An update of Adam has the gradient's sign, however small it is: rounding errors
            # spread, in full128's D_img within two steps beyond comparison.
            if step == 0 or name in ('EG_loss', 'tv_loss') or golden.settings['size_image'] == 32:
                expected = golden.numbers[f'loss/{name}'][step]
                tolerance = 1e-2 if step else 1e-4
                np.testing.assert_allclose(value, expected, tolerance, err_msg=f'{name} {step}')
    for name in golden.variables:
        value = model.named_variables[name].numpy().astype(np.float64)
        norm, expected = np.linalg.norm(value), golden.numbers[f'norm_after/{name}']
        np.testing.assert_allclose(norm, expected, rtol=1e-2, err_msg=name)
        # On average a value may be off by part of the three updates of up to 0.0002 each; a bias
        # before batch norm by all of them, since rounding errors alone decide their signs.
        part = 0.05 if golden.settings['size_image'] == 32 else 0.25
        if re.fullmatch(r'D_(img_conv\d|z_fc[012])/b', name):
            part = 1
        np.testing.assert_allclose(
            value.mean(),
            golden.numbers[f'sum_after/{name}'] / value.size,
            rtol=0,
            atol=part * 3 * 0.0002,
            err_msg=name,
        )


def test_weights_of_the_losses(eagerly):
    golden = Golden('tiny32')
    model, outputs = golden.model(), golden.model().forward(*golden.inputs)
    model.weights = (0, 0, 0)  # then nothing of the discriminators may reach E and G
    for name, variable in model.named_variables.items():
        if name.startswith('D_'):
            variable.assign(np.full(variable.shape, np.nan))
    losses = model.train_step(*golden.inputs)
    assert losses['EG_loss'] == face_aging.losses(golden.inputs[0], outputs)['EG_loss']
    for name, variable in model.named_variables.items():
        if name.startswith(('E_', 'G_')):
            assert np.isfinite(variable.numpy()).all(), name
    model.weights = (0, 0.1, 0)  # now it does, by way of D_z
    model.train_step(*golden.inputs)
    assert np.isnan(model.named_variables['E_fc/w'].numpy()).all()


def test_images():
    loaded = np.load(GOLDEN / 'images' / 'loaded.npz')
    for key, expected in loaded.items():
        name, mode = key.split('|')
        image = ops.load_image(GOLDEN / 'images' / name, 128, is_gray=mode == 'gray')
        assert image.dtype == np.float32
        np.testing.assert_allclose(image[::4, ::4], expected, atol=2.001 / 255, err_msg=key)


def test_tensorflow_1_checkpoint():
    golden = Golden('tiny32')
    model = golden.model()
    for variable in model.named_variables.values():
        variable.assign(np.ones(variable.shape))
    assert model.load_checkpoint(str(GOLDEN / 'tiny32' / 'checkpoint'))
    for name, value in golden.variables.items():
        np.testing.assert_array_equal(model.named_variables[name], value, err_msg=name)

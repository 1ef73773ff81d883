"""The losses with all three weights, against networks written in NumPy, in float64."""

import numpy as np
import pytest

from tests.conftest import random_batch

WEIGHTS = (0.03, 0.2, 0.01)
STEP = 1e-6  # of the central differences


def conv(x, w, b, stride):
    """Convolution [B, H, W, C], padded as TensorFlow's SAME."""
    kernel, size = w.shape[0], x.shape[1]
    out = -(-size // stride)
    pad = max((out - 1) * stride + kernel - size, 0)
    x = np.pad(x, [(0, 0), (pad // 2, pad - pad // 2), (pad // 2, pad - pad // 2), (0, 0)])
    y = np.zeros([len(x), out, out, w.shape[3]])
    for i in range(kernel):
        for j in range(kernel):
            part = x[:, i : i + out * stride : stride, j : j + out * stride : stride]
            y += part[:, :out, :out] @ w[i, j]
    return y + b


def deconv(x, w, b, stride):
    """The transpose of `conv`, w [k, k, out, in]."""
    kernel, size = w.shape[0], x.shape[1]
    out = size * stride
    pad = max((size - 1) * stride + kernel - out, 0)
    y = np.zeros([len(x), out + pad + stride, out + pad + stride, w.shape[2]])
    for i in range(kernel):
        for j in range(kernel):
            y[:, i : i + out : stride, j : j + out : stride] += x @ w[i, j].T
    return y[:, pad // 2 : pad // 2 + out, pad // 2 : pad // 2 + out] + b


def batch_norm(x, beta):
    axes = tuple(range(x.ndim - 1))
    return (x - x.mean(axes)) / np.sqrt(x.var(axes) + 0.001) + beta


def relu(x):
    return np.maximum(x, 0)


def objective(v, image, age, gender):
    """EG_loss + w0 * G_img_loss + w1 * E_z_loss + w2 * tv_loss, for variables by their names."""
    x, layers = image, 0
    while f'E_conv{layers}/w' in v:
        x = relu(conv(x, v[f'E_conv{layers}/w'], v[f'E_conv{layers}/b'], 2))
        layers += 1
    z = np.tanh(x.reshape(len(x), -1) @ v['E_fc/w'] + v['E_fc/b'])
    x = np.concatenate([z, np.tile(age, 5), np.tile(gender, 25)], 1) @ v['G_fc/w'] + v['G_fc/b']
    size = image.shape[1] // 2**layers
    x = relu(x.reshape(len(x), size, size, -1))
    for i in range(layers + 1):
        x = relu(deconv(x, v[f'G_deconv{i}/w'], v[f'G_deconv{i}/b'], 2 if i < layers else 1))
    last = f'G_deconv{layers + 1}'
    x = G = np.tanh(deconv(x, v[f'{last}/w'], v[f'{last}/b'], 1))
    for i in range(4):
        x = conv(x, v[f'D_img_conv{i}/w'], v[f'D_img_conv{i}/b'], 2)
        x = relu(batch_norm(x, v[f'D_img_bn{i}/beta']))
        if i == 0:
            label = np.concatenate([age, np.tile(gender, 5)], 1)[:, None, None]
            x = np.concatenate([x, np.broadcast_to(label, [*x.shape[:3], label.shape[3]])], 3)
    x = x.reshape(len(x), -1) @ v['D_img_fc1/w'] + v['D_img_fc1/b']
    logit_img = np.maximum(x, 0.2 * x) @ v['D_img_fc2/w'] + v['D_img_fc2/b']
    x = z
    for i in range(3):
        x = x @ v[f'D_z_fc{i}/w'] + v[f'D_z_fc{i}/b']
        x = relu(batch_norm(x, v[f'D_z_bn{i}/beta']))
    logit_z = x @ v['D_z_fc3/w'] + v['D_z_fc3/b']
    variation = ((G[:, 1:] - G[:, :-1]) ** 2).sum() + ((G[:, :, 1:] - G[:, :, :-1]) ** 2).sum()
    parts = (
        np.log1p(np.exp(-logit_img)).mean(),
        np.log1p(np.exp(-logit_z)).mean(),
        variation / 2 / G.shape[1] / len(G),
    )
    return np.abs(image - G).mean() + np.dot(WEIGHTS, parts), parts


def test_the_three_weights(tiny):
    """The losses, and the gradient of each variable of E and G along a random direction."""
    random = np.random.RandomState(3)
    model = tiny(num_encoder_channels=4, num_gen_channels=16)
    model.weights = WEIGHTS
    for name, variable in model.named_variables.items():
        if 'moving' not in name:
            variable.assign(random.normal(size=variable.shape) * (0.3 if name[0] == 'D' else 0.1))
    batch = random_batch(4, seed=1)  # with seed 0 a step crosses a kink
    losses, _, gradients = model.gradients(*batch)
    values = {name: v.numpy().astype(float) for name, v in model.named_variables.items()}
    inputs = [x.astype(float) for x in batch[:3]]
    _, parts = objective(values, *inputs)
    for name, part in zip(('G_img_loss', 'E_z_loss', 'tv_loss'), parts, strict=True):
        assert float(losses[name]) == pytest.approx(part, rel=1e-4), name
    names = {id(variable): name for name, variable in model.named_variables.items()}
    for variable, gradient in zip(model.trainable[0], gradients[0], strict=True):
        name, gradient = names[id(variable)], np.asarray(gradient, float)
        direction = random.normal(size=gradient.shape) + gradient / np.abs(gradient).max()
        ends = [
            objective({**values, name: values[name] + sign * STEP * direction}, *inputs)[0]
            for sign in (1, -1)
        ]
        slope = (ends[0] - ends[1]) / (2 * STEP)
        tolerance = 1e-4 * np.linalg.norm(gradient) * np.linalg.norm(direction)
        assert (gradient * direction).sum() == pytest.approx(slope, abs=tolerance), name

"""Draw the method: four networks, and the losses that train them."""

import numpy as np
from matplotlib import patches
from matplotlib.figure import Figure

INK, DATA = '#2b2f36', '#8a8f96'
NET, CRITIC = '#3f6e9e', '#b0603f'  # of E and G, of the discriminators
PALE = {NET: '#e9f0f7', CRITIC: '#f8ede8', DATA: '#f0f1f2'}


def draw_method(model):
    """Draw the four networks, with the sizes of a model's layers, and where each loss acts."""
    figure = Figure([16, 8.6], dpi=100)
    axes = figure.add_axes([0, 0, 1, 1], xlim=(0, 16), ylim=(0, 8.6))
    axes.axis('off')
    conv = model.E.get_layer('E_conv0')
    size, kernel = _times(model.E.input.shape[1:]), _times(conv.kernel_size)
    E, G, D_z = _sizes(model.E, 'output'), _sizes(model.G, 'input'), _sizes(model.D_z, 'output')
    D_img = _sizes(model.D_img, 'input')[1:4] + _sizes(model.D_img, 'output')[3:]
    z, (age, gender) = model.num_z_channels, _label_channels(model.G)

    # The way of a face, left to right.
    _face(axes, 0.3, 'image', size)
    _arrow(axes, (1.9, 5.7), (2.3, 5.7))
    _network(axes, (2.35, 4.4, 2.85, 2.8), 'E', f'{kernel} convolutions', E[:-1], NET)
    _arrow(axes, (5.25, 5.1), (5.65, 5.1))
    _tag(axes, 5.7, 4.8, f'z   {z}', width=1.75)
    _tag(axes, 5.7, 5.4, f'age   {model.num_categories} → {age}', width=1.75)
    _tag(axes, 5.7, 6.0, f'gender   2 → {gender}', width=1.75)
    _text(axes, 6.575, 6.85, 'labels, repeated', ha='center')
    _arrow(axes, (7.5, 5.7), (7.9, 5.7))
    _network(axes, (7.95, 4.4, 3.85, 2.8), 'G', f'{kernel} transposed convolutions', G[1:], NET)
    _arrow(axes, (11.85, 5.7), (12.25, 5.7))
    _face(axes, 12.3, 'G', size)
    _arrow(axes, (6.575, 4.75), (6.575, 3.8))
    _arrow(axes, (13.05, 4.5), (13.05, 3.8))

    # The discriminators.
    _network(axes, (0.3, 0.95, 7.1, 2.8), 'D_z', 'fully connected', D_z, CRITIC, left=2.05)
    _network(
        axes, (7.75, 0.95, 7.95, 2.8), 'D_img', f'{kernel} convolutions', D_img, CRITIC, left=2.05
    )
    label_channels = f'labels   {sum(_label_channels(model.D_img))}'
    for x, y, name in (
        (0.5, 2.5, 'z'),
        (0.5, 1.8, 'z_prior'),
        (7.95, 2.85, 'G'),
        (7.95, 2.15, 'image'),
        (7.95, 1.45, label_channels),
    ):
        _tag(axes, x, y - 0.3, name)
        _arrow(axes, (x + 1.35, y), (x + 1.8, y))
    _text(axes, 0.5, 1.25, 'z_prior even in (-1, 1)', size=12)
    _arrow(axes, (4.3, 2.15), (4.85, 2.15))
    _arrow(axes, (12.75, 2.15), (13.15, 2.15))

    # The losses, each where it acts, in the colour of what it trains.
    _loss(axes, 4.9, 2.55, 'E_z_loss', 'D_z(z) → 1', NET)
    _loss(axes, 4.9, 1.82, 'D_z_loss_z', 'D_z(z) → 0', CRITIC)
    _loss(axes, 4.9, 1.09, 'D_z_loss_prior', 'D_z(z_prior) → 1', CRITIC)
    _loss(axes, 13.2, 2.55, 'G_img_loss', 'D_img(G) → 1', NET)
    _loss(axes, 13.2, 1.82, 'D_img_loss_G', 'D_img(G) → 0', CRITIC)
    _loss(axes, 13.2, 1.09, 'D_img_loss_input', 'D_img(image) → 1', CRITIC)
    _loss(axes, 14.2, 5.38, 'tv_loss', 'G is smooth', NET, width=1.5)
    _loss(axes, 5.9, 7.7, 'EG_loss', 'mean |image - G| → 0', NET)
    for x, y in (
        ([1.05, 1.05, 5.85], [6.9, 8.02, 8.02]),
        ([13.05, 13.05, 8.25], [6.9, 8.02, 8.02]),
        ([13.85, 14.15], [5.7, 5.7]),
    ):
        axes.plot(x, y, '--', color=NET)
    w0, w1, w2 = model.weights
    aim = f'EG_loss + {w0:g} · G_img_loss + {w1:g} · E_z_loss + {w2:g} · tv_loss'
    _text(axes, 0.3, 0.5, f'E and G minimise {aim}', color=NET)
    _text(axes, 15.7, 0.5, 'D_z and D_img: their two losses each', color=CRITIC, ha='right')
    return figure


def _sizes(network, side):
    """Return the shapes without B at one side, 'input' or 'output', of the layers with a kernel."""
    layers = [layer for layer in network.layers if hasattr(layer, 'kernel')]
    return [getattr(layer, side).shape[1:] for layer in layers]


def _label_channels(network):
    """Return the channels that the age and the gender bring into a network."""
    joins = [op for op in network.operations if 'concatenate' in op.name]
    return [join.output.shape[-1] - join.input[0].shape[-1] for join in joins]


def _times(shape):
    return ' \N{MULTIPLICATION SIGN} '.join(map(str, shape))


def _text(axes, x, y, text, **style):
    axes.text(x, y, text, **{'color': INK, 'size': 13, 'va': 'center', **style})


def _box(axes, x, y, width, height, **style):
    style = {'boxstyle': 'round,pad=0,rounding_size=0.08', 'linewidth': 1.2, **style}
    axes.add_patch(patches.FancyBboxPatch((x, y), width, height, **style))


def _tag(axes, x, y, text, width=1.3):
    _box(axes, x, y, width, 0.6, facecolor=PALE[DATA], edgecolor=DATA)
    _text(axes, x + width / 2, y + 0.3, text, ha='center')


def _loss(axes, x, y, name, aim, colour, width=2.3):
    _box(axes, x, y, width, 0.65, facecolor='white', edgecolor=colour, linestyle='--')
    _text(axes, x + 0.12, y + 0.46, name, color=colour, weight='bold')
    _text(axes, x + 0.12, y + 0.18, aim, size=12)


def _network(axes, box, name, kind, shapes, colour, left=0.2):
    """Draw a network in a box: a bar for each layer, higher where its map is larger."""
    x, y, _, height = box
    _box(axes, *box, facecolor=PALE[colour], edgecolor='none')
    _text(axes, x + 0.2, y + height - 0.26, name, color=colour, weight='bold', size=16)
    over_bars = x + left + 0.25 * len(shapes) - 0.05
    _text(axes, over_bars, y + height - 0.28, kind, ha='center', size=12)
    for i, shape in enumerate(shapes):
        long = (1.2 if len(shape) > 1 else 0.3) + 0.1 * np.log2(shape[0])
        middle, centre = x + left + 0.2 + 0.5 * i, y + height / 2 - 0.2
        place = middle - 0.2, centre - long / 2, 0.4, long
        _box(axes, *place, facecolor=colour, edgecolor='none')
        _text(axes, middle, centre, _times(shape), color='white', ha='center', rotation=90, size=12)


def _face(axes, x, name, size):
    """Draw a face in a frame."""
    _box(axes, x, 4.95, 1.5, 1.5, facecolor=PALE[DATA], edgecolor=DATA)
    x, y = x + 0.75, 5.7
    for dx, dy, radius in ((0, 0, 0.5), (-0.18, 0.12, 0.04), (0.18, 0.12, 0.04)):
        axes.add_patch(patches.Circle((x + dx, y + dy), radius, fill=radius < 0.1, color=DATA))
    axes.add_patch(patches.Arc((x, y - 0.05), 0.5, 0.45, theta1=205, theta2=335, color=DATA))
    _text(axes, x, y + 0.93, name, ha='center', weight='bold')
    _text(axes, x, y - 0.95, size, ha='center', size=12)


def _arrow(axes, start, end):
    axes.annotate('', end, start, arrowprops={'arrowstyle': '-|>', 'color': INK, 'linewidth': 1.5})

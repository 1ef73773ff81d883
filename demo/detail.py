"""How sharp generated faces are, and how much of the photo around them stays, for demo.evaluate.

Functions of arrays. Luminance is in levels, 0 to 255; pixels are those of the model's faces.
"""

import numpy as np

from demo.likeness import LUMINANCE

BAND = 3, 8  # pixels: the wavelengths of fine wrinkles, and of the mottle of generated faces
FRAME = 6  # pixels at 128: the width of the border, where background and clothes are
CHANGED = 10  # levels, from which on a border counts as painted anew


def compare(aged, inputs, real, groups):
    """Compare generated faces with their inputs, and with real faces of the target's age.

    Args:
        aged: uint8 array [N, L, S, S, C], N people at each of L target ages.
        inputs: uint8 array [N, S, S, C], the photos of these people.
        real: uint8 array [R, S, S, C], real faces.
        groups: int array [R], the age group of each, an index of the targets.

    Returns:
        dict, see demo/README.md: medians over people, of all faces and of each target age.
    """
    photo, energy = luminance(inputs), band_energy(luminance(real))
    columns = []
    for target in range(aged.shape[1]):
        light, alike = luminance(aged[:, target]), energy[groups == target]
        columns.append(
            {
                'sharpness': laplacian(light) / laplacian(photo),
                'band_energy': band_energy(light) / (np.median(alike) if len(alike) else np.nan),
                'contrast': contrast(light) / contrast(photo),
                'border_change': border_change(aged[:, target], inputs),
            }
        )
    return _summary({key: np.stack([x[key] for x in columns], 1) for key in columns[0]})


def luminance(faces):
    """Return the luminance (ITU-R BT.601) of faces uint8 [N, S, S, C], float32 [N, S, S]."""
    faces = faces.astype(np.float32)
    return faces @ LUMINANCE if faces.shape[-1] == 3 else faces[..., 0]


def laplacian(light):
    """Return the variance of the Laplacian, over a picture but for its outermost pixels.

    The Laplacian is four times a pixel less its four neighbours. Its variance grows with sharp
    edges, and with noise as well.

    Args:
        light: float array [N, S, S], luminance.

    Returns:
        float array [N].
    """
    inner = light[:, 1:-1, 1:-1]
    around = light[:, :-2, 1:-1] + light[:, 2:, 1:-1] + light[:, 1:-1, :-2] + light[:, 1:-1, 2:]
    return np.var(4 * inner - around, axis=(1, 2), dtype=np.float64)


def band_energy(light):
    """Return the energy of luminance in BAND, the variance that these wavelengths make up.

    The mean is taken off, and a Hann window, whose energy is divided out, weighs the middle of the
    picture, the face, and keeps the picture's edges from counting. Of its Fourier transform the
    squares are summed where a wave is BAND pixels long, in any direction, and divided by the
    number of pixels: white noise of variance v gives v times the band's share of the spectrum.

    Args:
        light: float array [N, S, S], luminance.

    Returns:
        float array [N], in squares of levels.
    """
    size = light.shape[-1]
    hann = np.hanning(size + 2)[1:-1]
    window = np.outer(hann, hann)
    window /= np.sqrt(np.mean(window**2))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    shortest, longest = BAND
    band = (frequency >= 1 / longest) & (frequency <= 1 / shortest)
    waves = np.fft.fft2((light - light.mean(axis=(1, 2), keepdims=True)) * window)
    return np.sum(np.abs(waves[:, band]) ** 2, axis=1) / size**4


def contrast(light):
    """Return the standard deviation of luminance [N, S, S] over each picture, float array [N]."""
    return light.std(axis=(1, 2), dtype=np.float64)


def border_change(made, photos):
    """Return by how much the border of photos changes: mean absolute difference over it.

    The border is FRAME pixels wide (of 128) at the left and the right side, and at the upper edge
    but for its middle half, where hair is.

    Args:
        made, photos: uint8 arrays [N, S, S, C].

    Returns:
        float array [N], in levels.
    """
    size = made.shape[1]
    frame, quarter = max(round(FRAME * size / 128), 1), size // 4
    border = np.zeros([size, size], bool)
    border[:, :frame] = border[:, -frame:] = True
    border[:frame, :quarter] = border[:frame, -quarter:] = True
    difference = made[:, border].astype(np.float32) - photos[:, border]
    return np.abs(difference).mean(axis=(1, 2))


def _summary(values):
    """Return medians, and the share of borders that changed, of arrays [N, L] by their names."""

    def of(axis):
        found = {key: np.median(x, axis) for key, x in values.items()}
        return found | {'border_changed': np.mean(values['border_change'] > CHANGED, axis)}

    return {k: float(x) for k, x in of(None).items()} | {
        'by_target': {k: x.tolist() for k, x in of(0).items()}
    }

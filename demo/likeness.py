"""Ages that show, people who stay: the mathematics of --age_shift and --likeness.

G(E(x), age, gender) has two faults. The code z = E(x) still says how old the person is, and G
listens to it more than to the age label; `shift_age` replaces that age. And fifty numbers do not
hold a person; `lay_over` adds the change that G makes to the photo itself. Both are arrays in,
arrays out; demo.aging runs the networks between them.
"""

import numpy as np
from scipy import ndimage

from data import labels

AGE_RANK = 3  # dimensions of the age in z
TRUST_BLUR = 3 / 128  # of the width: deviation of the Gaussian over which errors are averaged
TRUST_ERROR = 0.3  # of pixels in [-1, 1]: a mean error from which on little of the change is used


def whitening(covariance):
    """Return W [Z, Z], lower triangular, with W C W' = I for a covariance C [Z, Z]."""
    return np.linalg.inv(np.linalg.cholesky(np.asarray(covariance, np.float64)))


def age_projection(codes):
    """Return P [Z, Z], the projection of codes on the AGE_RANK directions in which ages differ.

    P = W^-1 U'U W: the rows of U [AGE_RANK, Z] are the first right singular vectors of the
    whitened means of the age groups, of both genders together, centred.

    Args:
        codes: an init_model.codes.Codes.
    """
    W = whitening(codes.covariance)
    means = codes.mean.mean(axis=1) @ W.T
    U = np.linalg.svd(means - means.mean(axis=0), full_matrices=False)[2][:AGE_RANK]
    return np.linalg.solve(W, U.T @ U @ W)


def shift_age(codes, z, years, gender, amount, age_upper=labels.AGE_UPPER):
    """Replace the age that codes carry by another: z - amount * P (z - mu[years, gender]).

    Args:
        codes: an init_model.codes.Codes.
        z: float array [N, Z].
        years: the age in years that the codes get; between the centres of two groups mu is
            interpolated as `labels.age_label` is.
        gender: 0 male, 1 female, of mu.
        amount: 0 leaves z as it is, with 1 its age is that of mu, with more it overshoots.
        age_upper: last year of each age group but the last.

    Returns:
        float32 array [N, Z] in [-1, 1].
    """
    shares = (labels.age_label(years, age_upper) + 1) / 2
    mu = shares @ codes.mean[:, gender].astype(np.float64)
    shifted = z - amount * (z - mu) @ age_projection(codes).T
    return np.clip(shifted, -1, 1).astype(np.float32)


def guess_labels(codes, z):
    """Guess ages and genders from codes: how likely each is if codes are normal in every cell.

    Args:
        codes: an init_model.codes.Codes.
        z: float array [N, Z].

    Returns:
        ages: float32 array [N, L] in [-1, 1], -1 where an age group is out of the question.
        genders: float32 array [N, 2], the same.
    """
    W = whitening(codes.covariance)
    cells = codes.mean.reshape(-1, z.shape[1]) @ W.T  # [2L, Z], genders within age groups
    distance = ((z @ W.T)[:, None] - cells) ** 2
    logits = -distance.sum(axis=-1) / 2
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    odds = odds.reshape(len(z), *codes.mean.shape[:2]) / odds.sum(axis=1)[:, None, None]
    return tuple(np.float32(2 * odds.sum(axis=axis) - 1) for axis in (2, 1))


def trust(images, reconstructions):
    """Say where the model understands photos: 1 there, towards 0 where it errs.

    exp(-(e / TRUST_ERROR)^2), where e is the mean over the colours of the absolute error, averaged
    over a Gaussian.

    Args:
        images, reconstructions: float arrays [N, S, S, C] in [-1, 1].

    Returns:
        float32 array [N, S, S, 1] in (0, 1].
    """
    error = np.abs(images - reconstructions).mean(axis=-1, keepdims=True)
    blur = TRUST_BLUR * images.shape[1]
    error = ndimage.gaussian_filter(error, (0, blur, blur, 0), mode='nearest')
    return np.exp(-((error / TRUST_ERROR) ** 2)).astype(np.float32)

"""The age and the gender that codes tell, and how to replace the age: --age_shift."""

import numpy as np
from scipy import special

from data import labels

AGE_RANK = 4  # directions of z in which ages differ: with more of them people are lost
# Years from which on an overshoot counts in full. In a small child it makes dark holes of the eyes,
# in a young adult shadows around the face.
OVERSHOOT_FROM = 40


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


def shift_age(codes, z, ages, genders, age_shift, age_upper=labels.AGE_UPPER):
    """Replace the age that codes carry: z - t * P (z - mu), with P of `age_projection`.

    mu is the mean code of the target's age and gender, mixed as the labels are. t is age_shift;
    what it has beyond 1 counts in full from OVERSHOOT_FROM years on, in proportion below.

    Args:
        codes: an init_model.codes.Codes; may be None where age_shift is 0.
        z: float array [..., Z].
        ages, genders: labels of the target, [..., L] and [..., 2] in [-1, 1].
        age_shift: 0 leaves z as it is; with 1 its age is mu's, with more it overshoots.
        age_upper: last year of each age group but the last.

    Returns:
        float32 array [..., Z].
    """
    if age_shift == 0:
        return z
    ages, genders = ((1 + np.asarray(label, np.float64)) / 2 for label in (ages, genders))
    mu = np.einsum('...l,...s,lsz->...z', ages, genders, codes.mean)
    years = (ages @ labels.age_centres(age_upper))[..., None]
    t = min(age_shift, 1) + max(age_shift - 1, 0) * np.clip(years / OVERSHOOT_FROM, 0, 1)
    return (z - t * ((z - mu) @ age_projection(codes).T)).astype(np.float32)


def log_odds(codes, z):
    """Return how likely each age group and gender is for codes, if these are normal in every cell.

    Args:
        codes: an init_model.codes.Codes.
        z: float array [N, Z].

    Returns:
        float array [N, L, 2], the logarithms of the probabilities, up to a constant for each code.
    """
    W = whitening(codes.covariance)
    offsets = (z[:, None] - codes.mean.reshape(1, -1, z.shape[1])) @ W.T  # [N, 2L, Z]
    return -(offsets**2).sum(axis=-1).reshape(len(z), *codes.mean.shape[:2]) / 2


def possible_labels(model, codes, z, years=None, gender=None):
    """Return what the own ages and genders of people may be, K for each.

    Of each gender, with Codes, one age: 2p - 1 of the probabilities p that the code tells for this
    gender. Without, all age groups.

    Args:
        model: a FaceAging.
        codes: its Codes, or None.
        z: float array [N, Z].
        years, gender: of all people, where they are known, in years and 0 male, 1 female.

    Returns:
        ages, genders: labels, float32 [K, N, L] and [K, N, 2] in [-1, 1].
        odds: float array [K, N], how likely the codes make each, a logarithm; without Codes alike.
    """
    known = None if years is None else labels.age_label([years], model.age_upper)
    logits = np.zeros([len(z), model.num_categories, 2]) if codes is None else log_odds(codes, z)
    possible = []
    for own in range(2) if gender is None else [gender]:
        of_gender = logits[..., own]
        if known is not None:
            ages = [known]
        elif codes is None:
            ages = labels.one_hot(np.arange(model.num_categories), model.num_categories)
        else:
            ages = [2 * special.softmax(of_gender, axis=1) - 1]
        odds = special.logsumexp(of_gender, axis=1)
        genders = labels.one_hot([own] * len(z), 2)
        possible += [(np.broadcast_to(age, of_gender.shape), genders, odds) for age in ages]
    ages, genders, odds = map(np.stack, zip(*possible, strict=True))
    return ages.astype(np.float32), genders, odds

"""Whether people are recognised in generated faces, and what that is worth, for demo.evaluate.

Functions of face descriptors, such as those of `measures.Descriptor`. A network takes two small
children for one person far more easily than two adults: so limits come from real people.
"""

import numpy as np
from scipy.spatial.distance import cdist

from demo.measures import SAME_PERSON

FALSE_ACCEPTS = 0.01  # share of pairs of different people whom a limit takes for one person
FEWEST_PAIRS = 100  # of a pair of age groups: with less the limit would be below all of them


def compare(inputs, aged, groups, different):
    """Recognise people in generated faces.

    Args:
        inputs: float array [N, D], descriptors of people.
        aged: float array [N, L, D], of these at each target age.
        groups: int array [N], age groups of the people.
        different: from `different_people`.

    Returns:
        dict, see demo/README.md.
    """
    limits = np.array([[_limit(distances) for distances in row] for row in different])
    distances = np.linalg.norm(aged - inputs[:, None], axis=-1)
    recognised = np.where(np.isnan(limits[groups]), np.nan, distances < limits[groups])
    first = found_first(inputs, aged)
    return {
        'people': len(inputs),
        'found_first': float(first.mean()),
        'recognised': _mean(recognised),
        'by_target': {
            'found_first': first.mean(axis=0).tolist(),
            'recognised': [_mean(column) for column in recognised.T],
        },
        'limits': limits.tolist(),
        'false_accepts': [
            [_mean(distances < SAME_PERSON) for distances in row] for row in different
        ],
    }


def found_first(inputs, aged):
    """Return whether of all people the own one is nearest to a generated face.

    Args:
        inputs, aged: as for `compare`.

    Returns:
        bool array [N, L].
    """
    distances = cdist(aged.reshape(-1, aged.shape[-1]), inputs)
    return distances.argmin(axis=1).reshape(aged.shape[:2]) == np.arange(len(inputs))[:, None]


def different_people(real, groups, genders, num_groups):
    """Return the distances of different people, one of each of two age groups.

    Args:
        real: float array [R, D], descriptors of real people.
        groups: int array [R], their age groups, below num_groups.
        genders: int array [R]: only people of the same gender are compared.

    Returns:
        num_groups lists of num_groups float arrays [P], the distances of all pairs of people.
    """
    distances, same_gender = cdist(real, real), genders[:, None] == genders
    members = [np.flatnonzero(groups == group) for group in range(num_groups)]

    def between(one, other):
        block = np.ix_(one, other)
        pairs = same_gender[block]
        return distances[block][np.triu(pairs, 1) if one is other else pairs]

    return [[between(one, other) for other in members] for one in members]


def _limit(distances):
    if len(distances) < FEWEST_PAIRS:
        return np.nan
    return np.quantile(distances, FALSE_ACCEPTS)


def _mean(values):
    """Return the mean of what is a number, NaN where nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float('nan')

"""Seeds made from the configuration's seed and a name, so that nothing uses a global generator."""

from __future__ import annotations

import hashlib


def seed_of(seed: int, *names: str | int) -> int:
    """Returns the seed for a name, in [0, 2^31): different for each name, the same in every process.

    Args:
        seed: the configuration's, or that of the enclosing scope: seeds nest as names do.
        names: of a layer, a weight, a trial; several form a path.
    """
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little") >> 1

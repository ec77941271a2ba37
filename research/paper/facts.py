"""The lines below every result: which images, which networks, which command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from research.paper.roles import ROLES
from research.paper.study import Study

# First digits of the SHA-256 of all test images and labels -> their name, and what they are.
_KNOWN_IMAGES = {
    "3a101f26ea820d57": ("MNIST", "the test images of MNIST, pixel for pixel"),
    "a323823e116aa87e": ("CIFAR-10 (JPEG copy)", "JPEG copies of quality 75 of the test images, not the original ones"),
}
LEFT_OUT = "Left out, for want of a network: "


def facts_of(study: Study, command: str, roles: Sequence[str] = ("adv", "twin")) -> Iterator[str]:
    """Yield the facts: images, networks, seed, and the command."""
    digest = study.data.sha256[:16]
    about = _KNOWN_IMAGES.get(digest, ("", f"the test images of {study.dataset}"))[1]
    yield f"Images: {about}, SHA-256 {digest}."
    found = [role for role in roles if role in study.networks.trained]
    networks = (f"`{role}` ({ROLES[role]}, {study.networks.trained[role].sha256[:12]})" for role in found)
    yield f"Networks, with the first digits of the SHA-256 of their weights: {', '.join(networks)}."
    missing = [f"`{role}` ({ROLES[role]})" for role in roles if role not in found]
    if missing:
        yield f"{LEFT_OUT}{', '.join(missing)}."
    yield f"Seed {study.seed}. Made by `{command}`."


def worst_case_fact(study: Study) -> str:
    """Return what the worst case is."""
    return (
        f"Worst case: right whatever was tried within {study.epsilon:.3g} in L-inf. That is those of the paper's "
        f"white-box attacks that stay in that ball; Square with {study.square.queries:,} queries on what they left; "
        "and on what is left then every other attack of the battery `strong`, with its second search by Auto-PGD and "
        "gray-box examples from `twin` and `adv`."
    )


def named(study: Study) -> str:
    """Return the name of the images, which may be another copy with other figures, and of a network not the paper's."""
    images = _KNOWN_IMAGES.get(study.data.sha256[:16], (study.dataset,))[0]
    return f"{images}, network {study.network}" if study.network else images

from __future__ import annotations

import subprocess
import sys

import pytest

from tf_laq import attacks
from tf_laq.errors import InputError


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"attack: expected one of clean, .*pgd.* Received: 'pdg'"):
        attacks.get("pdg", epsilon=0.1)


def test_unknown_and_missing_settings_are_named() -> None:
    with pytest.raises(InputError, match=r"attack pgd: expected settings among epsilon, .*unknown 'eps', no 'epsilon'"):
        attacks.get("pgd", eps=0.1)


@pytest.mark.parametrize("content", [{}, {"epsilon": 0.1}, ["pgd"], {"name": 3}])
def test_content_that_names_no_attack_is_refused(content) -> None:
    with pytest.raises(InputError, match="attack: expected an object with a name"):
        attacks.from_dict(content)


@pytest.mark.parametrize("name", attacks.names())
def test_classes_are_attributes_of_the_package(name) -> None:
    settings = {"standard_deviation": 0.1} if name == "gaussian" else {} if name == "clean" else {"epsilon": 0.1}
    attack = attacks.get(name, **settings)
    assert getattr(attacks, type(attack).__name__) is type(attack)


def test_listing_attacks_imports_neither_cleverhans_nor_a_keras() -> None:
    code = (
        "import sys; from tf_laq import attacks; attacks.names(); "
        "print([name for name in ('cleverhans', 'tf_keras') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"

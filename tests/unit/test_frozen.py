from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, dataclass

import pytest

from eventsrc.frozen import frozen


@frozen
class Place:
    """Where."""

    topic: str
    offset: int = 0

    @property
    def next(self) -> int:
        return self.offset + 1


@frozen
class Elsewhere:
    topic: str
    offset: int = 0


@frozen
class Nothing:
    pass


@dataclass(frozen=True, slots=True)
class Model:
    topic: str
    offset: int = 0


def test_it_equals_only_what_is_of_its_class_with_equal_fields() -> None:
    assert Place("a", 1) == Place("a", offset=1)
    assert hash(Place("a", 1)) == hash(Place("a", 1))
    assert Place("a", 1) != Place("a", 2)
    others: list[object] = [Elsewhere("a"), ("a", 0)]
    assert all(Place("a") != other for other in others)
    assert Nothing() == Nothing()


def test_it_cannot_be_changed() -> None:
    place = Place("a")
    with pytest.raises(FrozenInstanceError):
        place.offset = 3  # type: ignore[misc]  # what is tested
    with pytest.raises(FrozenInstanceError):
        del place.topic
    with pytest.raises((AttributeError, TypeError)):
        place.other = 3  # type: ignore[attr-defined]  # what is tested
    assert (place.topic, place.offset, place.next) == ("a", 0, 1)


def test_it_behaves_as_a_dataclass_does() -> None:
    assert repr(Place("a", 2)) == repr(Model("a", 2)).replace("Model", "Place")
    assert Place.__match_args__ == Model.__match_args__
    assert Place.__doc__ == "Where."
    assert not hasattr(Place("a"), "__dict__")
    match Place("a", 4):
        case Place(topic, offset):
            assert (topic, offset) == ("a", 4)
    for wrong in ((), ("a", 1, 2)):
        with pytest.raises(TypeError):
            Place(*wrong)


def test_it_is_copied_and_pickled_by_its_fields() -> None:
    place = Place("a", 7)
    assert copy.copy(place) == copy.deepcopy(place) == pickle.loads(pickle.dumps(place)) == place

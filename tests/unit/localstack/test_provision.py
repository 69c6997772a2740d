"""Jars come from the right repository, whole and as pinned, or not at all."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from eventsrc.localstack import provision
from eventsrc.localstack.problems import StackUnavailable
from eventsrc.localstack.provision import (
    Pin,
    cache_directory,
    fetch_jars,
    jars_directory,
    missing_pins,
    read_pins,
    repository_url,
)

_CONTENT = b"a jar"
_PIN = Pin("org.example.thing", "thing", "1.2", hashlib.sha256(_CONTENT).hexdigest(), len(_CONTENT))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    file = root / "org/example/thing/thing/1.2/thing-1.2.jar"
    file.parent.mkdir(parents=True)
    file.write_bytes(_CONTENT)
    return root


def _fetch(cache: Path, repository: Path, pins: list[Pin]) -> list[Path]:
    return fetch_jars(cache, lambda line: None, url=repository.as_uri(), pins=pins)


def test_the_committed_pins_are_complete_and_well_formed() -> None:
    pins = read_pins()
    assert len(pins) == 45
    assert len({pin.file_name for pin in pins}) == 45
    assert all(len(pin.sha256) == 64 and int(pin.sha256, 16) and pin.size_bytes > 0 for pin in pins)
    assert {pin.version for pin in pins if pin.group == "org.apache.kafka"} == {provision.KAFKA_VERSION}


def test_a_jar_is_fetched_once(tmp_path: Path, repository: Path) -> None:
    reported: list[str] = []
    (jar,) = fetch_jars(tmp_path / "cache", reported.append, url=repository.as_uri(), pins=[_PIN])
    assert jar.read_bytes() == _CONTENT
    assert len(reported) == 1
    assert "1 jars" in reported[0]
    for file in repository.rglob("*.jar"):
        file.unlink()
    assert _fetch(tmp_path / "cache", repository, [_PIN]) == [jar]


def test_a_jar_with_another_hash_is_refused_and_not_kept(tmp_path: Path, repository: Path) -> None:
    wrong = Pin(_PIN.group, _PIN.artifact, _PIN.version, "0" * 64, _PIN.size_bytes)
    with pytest.raises(StackUnavailable, match="not the pinned file") as raised:
        _fetch(tmp_path / "cache", repository, [wrong])
    assert wrong.sha256 in raised.value.problem
    assert _PIN.sha256 in raised.value.problem
    assert list(jars_directory(tmp_path / "cache").iterdir()) == []


def test_a_jar_longer_than_its_pin_is_refused(tmp_path: Path, repository: Path) -> None:
    next(repository.rglob("*.jar")).write_bytes(_CONTENT + b" and more")
    with pytest.raises(StackUnavailable, match="not the pinned file"):
        _fetch(tmp_path / "cache", repository, [_PIN])


def test_a_truncated_jar_in_the_cache_is_fetched_again(tmp_path: Path, repository: Path) -> None:
    (jar,) = _fetch(tmp_path / "cache", repository, [_PIN])
    jar.write_bytes(_CONTENT[:2])
    assert missing_pins(tmp_path / "cache", [_PIN]) == [_PIN]
    _fetch(tmp_path / "cache", repository, [_PIN])
    assert jar.read_bytes() == _CONTENT


def test_an_unreachable_repository_is_named_with_its_mend(tmp_path: Path) -> None:
    with pytest.raises(StackUnavailable, match=r"cannot fetch file:.*thing-1\.2\.jar") as raised:
        _fetch(tmp_path / "cache", tmp_path / "nowhere", [_PIN])
    assert "EVENTSRC_MAVEN_URL" in raised.value.mend


def test_the_given_repository_wins(tmp_path: Path) -> None:
    _settings(tmp_path, "<mirror><mirrorOf>*</mirrorOf><url>http://mirror.invalid/</url></mirror>")
    assert repository_url({"EVENTSRC_MAVEN_URL": "http://given.invalid/m2/"}, tmp_path) == "http://given.invalid/m2"


@pytest.mark.parametrize("mirrored", ["*", "central", "external:*", "other, central"])
def test_the_mirror_of_the_maven_settings_is_next(tmp_path: Path, mirrored: str) -> None:
    _settings(tmp_path, f"<mirror><mirrorOf>{mirrored}</mirrorOf><url>http://mirror.invalid/</url></mirror>")
    assert repository_url({}, tmp_path) == "http://mirror.invalid"


@pytest.mark.parametrize(
    "mirror",
    [
        "<mirror><mirrorOf>other</mirrorOf><url>http://mirror.invalid</url></mirror>",
        "<mirror><mirrorOf>*,!central</mirrorOf><url>http://mirror.invalid</url></mirror>",
        "<mirror><mirrorOf>*</mirrorOf><url>http://mirror.invalid</url><blocked>true</blocked></mirror>",
        "<mirror><mirrorOf>*</mirrorOf></mirror>",
        "<mirror",
    ],
)
def test_a_mirror_of_something_else_is_passed_over(
    tmp_path: Path, mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provision, "_public_repository", lambda: "http://public.invalid")
    _settings(tmp_path, mirror)
    assert repository_url({}, tmp_path) == "http://public.invalid"


def test_without_any_repository_the_mend_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jgo", None)
    monkeypatch.setitem(sys.modules, "jgo.constants", None)
    with pytest.raises(StackUnavailable, match="no Maven repository is known") as raised:
        repository_url({}, tmp_path)
    assert "eventsrc[local]" in raised.value.mend


def test_the_public_repository_is_known_with_the_local_extra(tmp_path: Path) -> None:
    assert repository_url({}, tmp_path).startswith("https://")


def test_the_cache_is_where_the_environment_says(tmp_path: Path) -> None:
    assert cache_directory(tmp_path / "f", {"EVENTSRC_CACHE_DIR": str(tmp_path / "given")}) == tmp_path / "given"
    assert cache_directory(tmp_path / "f", {"XDG_CACHE_HOME": str(tmp_path / "xdg")}) == tmp_path / "xdg" / "eventsrc"


def test_a_user_without_a_home_has_the_cache_in_the_fallback(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert cache_directory(tmp_path / "f", {"XDG_CACHE_HOME": str(tmp_path / "file")}) == tmp_path / "f"


def test_a_given_cache_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackUnavailable, match="not writable"):
        cache_directory(tmp_path / "f", {"EVENTSRC_CACHE_DIR": str(tmp_path / "file" / "below")})


def _settings(home: Path, mirrors: str) -> None:
    (home / ".m2").mkdir()
    namespace = "http://maven.apache.org/SETTINGS/1.2.0"
    (home / ".m2" / "settings.xml").write_text(f'<settings xmlns="{namespace}"><mirrors>{mirrors}</mirrors></settings>')

"""mrt/kernels/library_cache.py, cpu.py: What is loaded from the user's cache is whole and the user's own; what was cut
off, planted or left behind costs a build and no crash."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrt.kernels import cpu, library_cache
from tests import apart

COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler here")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with one function."""
    source = tmp_path_factory.mktemp("tiny") / "tiny.cpp"
    source.write_text('extern "C" int answer() { return 42; }')
    library_cache.run_compiler([str(COMPILER), "-shared", "-fPIC", str(source), "-o", str(source.with_suffix(".so"))])
    return source.with_suffix(".so")


class Cache:
    """The cache of a user, and how often something was built for it."""

    def __init__(self, home: Path, tiny: Path) -> None:
        self.folder, self.tiny, self.builds = home / "mrt-robust", tiny, 0
        self.library, self.checksum = self.folder / "tiny.so", self.folder / "tiny.so.sha256"

    def load(self) -> ctypes.CDLL:
        library = library_cache.load_library("tiny.so", self._make)
        assert library.answer() == 42
        return library

    def _make(self, path: Path) -> None:
        self.builds += 1
        shutil.copy(self.tiny, path)


@pytest.fixture
def cache(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cache]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = os.umask(0)  # under which everybody may write what is made without care
    yield Cache(tmp_path, tiny)
    os.umask(before)


def test_what_is_kept_is_private_and_built_once(cache: Cache) -> None:
    for _ in range(2):
        cache.load()
    assert cache.builds == 1
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (cache.folder, cache.library, cache.checksum)]
    assert modes == [0o700, 0o600, 0o600]
    assert sorted(cache.folder.iterdir()) == [cache.library, cache.checksum]


def test_a_broken_library_is_built_again(tiny: Path, tmp_path: Path) -> None:
    """Cut off at several lengths, zeroed, or with a checksum that is none. In a process of its own, since whoever loads
    such a library dies of it."""
    code = f"""if True:
        import os, sys
        from pathlib import Path
        os.environ["XDG_CACHE_HOME"] = {str(tmp_path)!r}
        from mrt.kernels.library_cache import load_library
        whole, folder = Path({str(tiny)!r}).read_bytes(), Path({str(tmp_path)!r}) / "mrt-robust"
        names = ["tiny.so", "tiny.so.sha256"]
        def load():
            assert load_library(names[0], lambda path: path.write_bytes(whole)).answer() == 42
        cuts = [whole[:n] for n in (0, 1, 64, 1000, 4096, len(whole) // 2, len(whole) - 1)]
        broken = [(names[0], part) for part in (*cuts, bytes(len(whole)))]
        broken += [(names[1], part) for part in (b"", bytes([255]), b"0" * 64)]
        load()
        for name, part in broken:
            (folder / name).unlink()  # not written into: this process has it loaded
            (folder / name).write_bytes(part)
            load()
            assert (folder / names[0]).read_bytes() == whole
            print("mended", len(part))
        (folder / names[1]).unlink()
        load()
        assert sorted(path.name for path in folder.iterdir()) == names"""
    done = apart.Program(code)
    assert done.wait() == 0, (done.returncode, done.output, done.errors)
    assert done.output.count("mended") == 11


def test_a_whole_library_that_does_not_load_is_built_again(cache: Cache) -> None:
    """As one of another system is, in a home that machines share."""
    cache.folder.mkdir(0o700)
    cache.library.write_bytes(b"whole, and no library here")
    cache.checksum.write_text(hashlib.sha256(cache.library.read_bytes()).hexdigest())
    for path in (cache.library, cache.checksum):
        path.chmod(0o600)
    cache.load()
    assert cache.builds == 1 and cache.library.read_bytes() == cache.tiny.read_bytes()


@pytest.mark.parametrize("part", ["library", "checksum"])
@pytest.mark.parametrize("how", ["foreign", "group", "others"])
def test_a_file_that_others_may_have_written_is_not_loaded(
    cache: Cache, part: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.load()
    spoil(getattr(cache, part), how, monkeypatch)
    cache.load()
    assert cache.builds == 2


@pytest.mark.parametrize("how", ["foreign", "group", "others"])
def test_nothing_is_loaded_from_or_left_in_a_folder_of_others(
    cache: Cache, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.load()
    spoil(cache.folder, how, monkeypatch)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    written = cache.library.stat().st_mtime_ns
    with pytest.warns(
        RuntimeWarning, match="cannot be kept: .*mrt-robust is somebody else's, or others may write there"
    ):
        cache.load()
    assert cache.builds == 2 and cache.library.stat().st_mtime_ns == written
    assert not list((tmp_path / "temporary").iterdir())


def spoil(path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the path be a stranger's, or one that its group or everybody may write."""
    if how != "foreign":
        path.chmod(path.stat().st_mode | (0o020 if how == "group" else 0o002))
        return
    ask = os.stat

    def answer(asked: object, **how: object) -> os.stat_result:
        status = ask(asked, **how)  # type: ignore[arg-type]
        return os.stat_result((*status[:4], 12345, *status[5:10])) if str(asked) == str(path) else status

    monkeypatch.setattr(os, "stat", answer)


def test_the_checksum_stands_before_the_library_and_both_are_on_the_disk(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    events, flush, move = list[str](), os.fsync, Path.replace

    def note_flush(file: int) -> None:
        events.append(os.readlink(f"/proc/self/fd/{file}"))
        flush(file)

    def note_move(path: Path, to: Path) -> Path:
        events.append(f"{path} moved")
        return move(path, to)

    monkeypatch.setattr(os, "fsync", note_flush)
    monkeypatch.setattr(Path, "replace", note_move)
    cache.load()
    names = [event.rpartition("/")[2] for event in events]
    assert names == ["tiny.so", "tiny.so.sha256", "tiny.so.sha256 moved", "tiny.so moved"]


def test_what_killed_builds_left_is_swept(cache: Cache) -> None:
    old, new, strange = (cache.folder / name for name in ("building-old", "building-new", "mine"))
    for folder in (old, new, strange):
        folder.mkdir(parents=True)
        (folder / "tiny.so").write_bytes(b"half")
    cache.folder.chmod(0o700)
    for folder in (old, strange):
        os.utime(folder, (0, time.time() - library_cache.COMPILER_SECONDS - 120))
    cache.load()
    assert not old.exists() and new.is_dir() and strange.is_dir()


def test_a_compiler_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the programs that it has started, and attacks run without it."""
    compiler, pipe = tmp_path / "compiler", tmp_path / "pipe"
    # A name for the version; then a child that holds the pipe open for as long as it lives.
    compiler.write_text(f"#!/bin/sh\n[ $1 = --version ] && exec echo fake\nsleep 900 > {pipe}\n")
    compiler.chmod(0o700)
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(library_cache, "COMPILER_SECONDS", 0.5)
    with pytest.warns(RuntimeWarning, match="attack steps on the CPU run uncompiled.* timed out after 0.5"):
        assert cpu.library.__wrapped__() is None
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            assert os.read(reader, 1) == b""  # nobody holds it any more
            break
        except BlockingIOError:
            time.sleep(0.01)
    else:
        pytest.fail("what the compiler had started lives on")
    os.close(reader)

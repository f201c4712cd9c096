r"""What the app may open: nothing outside what was named, no trust in uploaded names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pulsebayes.apps.dashboard import library
from pulsebayes.apps.dashboard.library import Labels, Library, open_recording
from pulsebayes.waveforms import RecordingError

from .conftest import pulse


def csv(seconds: float = 20.0) -> bytes:
    rows = "".join(f"{i / 125:.3f},{v:.2f}\n" for i, v in enumerate(pulse(seconds)))
    return ("time [s],ABP [mmHg]\n" + rows).encode()


def test_link_that_leads_out_is_refused(opened: Path) -> None:
    (opened / "link.csv").symlink_to(opened.parent / "secret.csv")
    with pytest.raises(RecordingError, match="no such file inside"):
        Library((opened,), {}).open_path("link.csv")
    assert "link.csv" not in {p.name for p in Library((opened,), {}).files()}


def test_file_named_alone_opens_nothing_beside_it(opened: Path) -> None:
    one = Library((opened / "good.csv",), {})
    assert [s.kind for s in one.sources()] == ["opened"]
    with pytest.raises(RecordingError, match="no such file inside"):
        one.open_path("flat.csv")


def test_header_that_names_a_file_elsewhere_is_refused(opened: Path) -> None:
    (opened / "evil.hea").write_text("evil 1 125 1000\n../secret.csv 16 200(0)/mmHg 16 0 0 0 0 ABP\n")
    with pytest.raises(RecordingError, match="another folder"):
        Library((opened,), {}).open_path("evil.hea")


def test_upload_keeps_nothing_of_its_name(tmp_path: Path) -> None:
    shelf = Library((), {})
    source = shelf.keep_upload([("../../Jane Doe 1970.csv", csv())])
    assert "Jane" not in str(source.path) and "Jane" not in source.label and "/" not in source.name
    assert source.path.is_relative_to(shelf._folder) and shelf._folder.stat().st_mode & 0o077 == 0
    assert open_recording(source, Labels()).channel("ART").fs == pytest.approx(125.0)


def test_upload_is_seen_by_its_owner_only() -> None:
    shelf = Library((), {})
    source = shelf.keep_upload([("a.csv", csv())])
    assert shelf.find(source.identity) is None
    assert shelf.find(source.identity, [source.identity]) == source
    assert shelf.sources() == []


def test_uploads_go_when_the_app_ends() -> None:
    shelf = Library((), {})
    folder = shelf.keep_upload([("a.csv", csv())]).path.parent
    shelf._end()
    assert not folder.exists()


def test_upload_over_the_cap_is_refused_with_the_way_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "LARGEST_UPLOAD_MB", 0)
    with pytest.raises(RecordingError, match="at most 0 MB") as caught:
        Library((), {}).keep_upload([("a.csv", csv())])
    assert "dashboard FILE" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "got none"),
        ([("a.csv", b"1"), ("b.csv", b"1")], "without one"),
        ([("a.hea", b"a 1 125 9\n../../x.dat 16 200/mmHg\n"), ("x.dat", b"")], "another folder"),
        ([("a.hea", b"a 1 125 9\nx.dat 16 200/mmHg\n")], "not uploaded with it"),
        ([("..hea", b"a 1 125 9\n")], "letters"),
    ],
)
def test_upload_that_does_not_fit_is_refused(files: list[tuple[str, bytes]], message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        Library((), {}).keep_upload(files)


def test_record_of_header_and_signal_is_read(real_data: Path) -> None:
    folder = real_data / "physionet_wfdb"
    files = [(p.name, p.read_bytes()) for p in folder.glob("3975656_0015.*")]
    shelf = Library((), {})
    source = shelf.keep_upload(files)
    assert open_recording(source, Labels()).channel("ART").unit == "mmHg"


def test_error_names_the_label_not_the_file(opened: Path) -> None:
    shelf = Library((opened,), {})
    source = shelf.open_path("broken.csv")
    with pytest.raises(RecordingError) as caught:
        open_recording(source, Labels())
    assert caught.value.file == source.label and "broken" not in str(caught.value)


def test_segment_header_that_points_outside_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "opened"
    folder.mkdir()
    (tmp_path / "secret.dat").write_bytes(bytes(1000))
    (folder / "all.hea").write_text("all/1 1 125 500\npart 500\n")
    (folder / "part.hea").write_text("part 1 125 500\n../secret.dat 16 200/mmHg 12 0 0 0 0 ABP\n")
    with pytest.raises(RecordingError, match="another folder"):
        Library((folder,), {}).open_path("all.hea")
    (folder / "part.hea").write_text("part 1 125 500\nlink.dat 16 200/mmHg 12 0 0 0 0 ABP\n")
    (folder / "link.dat").symlink_to(tmp_path / "secret.dat")
    with pytest.raises(RecordingError, match="outside what was opened"):
        Library((folder,), {}).open_path("all.hea")


def test_file_found_in_a_folder_is_not_the_next_visitors_first(opened: Path) -> None:
    shelf = Library((opened, opened / "flat.csv"), {})
    found = shelf.open_path("good.csv")
    assert shelf.find(found.identity) == found
    assert [source.name for source in shelf.named()] == ["flat.csv"] == [source.name for source in shelf.sources()]


@pytest.mark.parametrize(
    "typed", ["a\0b", "x" * 5000, "/" + "y/" * 3000, "good.csv/../../secret.csv", "..", "/proc/self/environ"]
)
def test_path_that_names_no_file_tells_nothing_of_the_folder(opened: Path, typed: str) -> None:
    with pytest.raises(RecordingError, match="no such file inside") as caught:
        Library((opened,), {}).open_path(typed)
    assert str(opened) not in str(caught.value)


def test_link_put_in_place_of_an_opened_file_is_refused(opened: Path) -> None:
    shelf = Library((opened,), {})
    source = shelf.open_path("good.csv")
    assert shelf.read(source, Labels()).channel("ART").unit == "mmHg"
    source.path.unlink()
    source.path.symlink_to(opened.parent / "secret.csv")
    with pytest.raises(RecordingError, match="now leads outside"):
        shelf.read(source, Labels())


def test_link_put_in_place_of_a_signal_file_is_refused(opened: Path) -> None:
    (opened / "late.hea").write_text("late 1 125 500\nlate.dat 16 200/mmHg 16 0 0 0 0 ABP\n")
    (opened / "late.dat").write_bytes(bytes(1000))
    shelf = Library((opened,), {})
    source = shelf.open_path("late")
    (opened.parent / "secret.dat").write_bytes(bytes(1000))
    (opened / "late.dat").unlink()
    (opened / "late.dat").symlink_to(opened.parent / "secret.dat")
    with pytest.raises(RecordingError, match="outside what was opened"):
        shelf.read(source, Labels())


def test_upload_one_megabyte_over_the_cap_is_refused_before_it_is_written() -> None:
    shelf = Library((), {})
    with pytest.raises(RecordingError, match="got 51 MB"):
        shelf.keep_upload([("a.csv", bytes(51 << 20))])
    assert not list(shelf._folder.iterdir())


def test_upload_with_code_in_its_name_or_content_runs_nothing(tmp_path: Path) -> None:
    import io

    class Code:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "ran",)  # type: ignore[return-value]

    stream = io.BytesIO()
    np.savez(stream, ABP=np.array([Code()], dtype=object))
    shelf = Library((), {})
    with pytest.raises(RecordingError):
        open_recording(shelf.keep_upload([("a.npz", stream.getvalue())]), Labels())
    assert not (tmp_path / "ran").exists()
    named = shelf.keep_upload([("<img src=x onerror=alert(1)>.csv", csv())])
    assert "<" not in named.name and "<" not in named.label

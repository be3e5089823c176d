"""A newer artifact replaces an older one, or is refused, and requests notice nothing but other scores."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest

from dlrm_pl.artifact.store import load_artifact
from dlrm_pl.errors import ArtifactError
from dlrm_pl.kernels.int8.selection import available
from dlrm_pl.runtime.direct import DirectModel
from dlrm_pl.server.models.loaded import LoadedModel
from dlrm_pl.server.models.served import LoadSettings
from tests.support.artifacts import change, sign
from tests.support.server.artifacts import random_rows
from tests.support.server.calls import NAME, Caller, rows_binary
from tests.support.server.running import running
from tests.support.server.wire import message, read_answer

ROWS = random_rows(5)
REQUEST = rows_binary(*ROWS)


def replace(folder: Path, newer: Path) -> None:
    """Replace an artifact as ``quantize --overwrite`` does: by renaming."""
    shutil.copytree(newer, folder.with_name("new"))
    folder.rename(folder.with_name("old"))
    folder.with_name("new").rename(folder)


def load(caller: Caller) -> tuple[int, str]:
    answer = caller.post(f"/v2/repository/models/{NAME}/load", b"")
    return answer.status, answer.body.decode()


def test_newer_artifact_answers_after_it_was_loaded(folder: Path, newer_folder: Path) -> None:
    with Caller({NAME: folder}) as caller:
        before = caller.infer(REQUEST)
        assert load(caller)[0] == 200
        replace(folder, newer_folder)
        np.testing.assert_array_equal(caller.infer(REQUEST).values(), before.values())
        status, text = load(caller)
        assert status == 200, text
        after = caller.infer(REQUEST)
        np.testing.assert_array_equal(after.values(), load_artifact(newer_folder).predict(ROWS))
        assert not np.array_equal(after.values(), before.values())
        version = caller.get(f"/v2/models/{NAME}").contents["versions"]
        assert b"".join(name.encode() for name in version) in after.body
        assert caller.metrics.swaps[NAME, "loaded"] == 1


def test_earlier_version_is_freed_in_another_thread_when_no_request_uses_it(folder: Path, newer_folder: Path) -> None:
    threads: list[str] = []
    with Caller({NAME: folder}) as caller:
        caller.infer(REQUEST)
        version = caller.registry.models[NAME].newest
        batcher = version.batcher
        assert batcher.requests == 0
        model = weakref.ref(version.model, lambda _: threads.append(threading.current_thread().name))
        del version
        batcher.requests += 1  # Like a client that is still sending its rows.
        replace(folder, newer_folder)
        assert load(caller)[0] == 200
        time.sleep(0.2)
        assert model() is not None
        batcher.requests -= 1
        del batcher
        end = time.monotonic() + 10
        while not threads:
            assert time.monotonic() < end
            time.sleep(0.01)
    assert threads == ["release"]


@pytest.mark.skipif(len(available()) < 2, reason="no native kernels were built")
def test_rows_are_first_read_from_disk_without_blocking_python(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ways: list[str] = []
    usual, few = DirectModel.__call__, DirectModel.few
    monkeypatch.setattr(DirectModel, "__call__", lambda self, batch: (ways.append("usual"), usual(self, batch))[1])
    monkeypatch.setattr(DirectModel, "few", lambda self, batch: (ways.append("few"), few(self, batch))[1])
    LoadedModel(folder)
    assert ways == ["usual", "few"] * 2


def damage_table(folder: Path) -> None:
    path = next(folder.glob("table-*"))
    contents = bytearray(path.read_bytes())
    contents[-1] ^= 1
    path.write_bytes(contents)


def other_columns(folder: Path) -> None:
    for name in ("manifest.json", "certificate.json"):
        change(folder, name, ("columns", "sparse", 0, "name"), "wort")
    (folder / "vocabulary.safetensors").unlink()
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]["vocabulary.safetensors"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    sign(folder)


@pytest.mark.parametrize(
    ("spoil", "message_part"),
    [
        (damage_table, "checksum mismatch"),
        (other_columns, "takes other fields than the version that is being served"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "cannot be read as JSON"),
        (lambda folder: (folder / "manifest.json").unlink(), "is not an artifact"),
    ],
    ids=["damaged", "other columns", "no json", "no manifest"],
)
def test_bad_artifact_is_refused_and_the_earlier_one_stays(
    folder: Path, newer_folder: Path, tmp_path: Path, spoil: object, message_part: str
) -> None:
    bad = Path(shutil.copytree(newer_folder, tmp_path / "bad"))
    assert callable(spoil)
    spoil(bad)
    with Caller({NAME: folder}) as caller:
        before = caller.infer(REQUEST).values()
        replace(folder, bad)
        status, text = load(caller)
        assert status == 409
        assert message_part in text
        np.testing.assert_array_equal(caller.infer(REQUEST).values(), before)
        assert caller.get("/v2/health/ready").status == 200
        assert caller.metrics.swaps[NAME, "refused"] == 1


def test_artifact_that_was_not_accepted_is_refused(folder: Path, rejected_folder: Path) -> None:
    with Caller({NAME: folder}) as caller:
        replace(folder, rejected_folder)
        status, text = load(caller)
        assert status == 409
        assert "was not accepted, since its certificate says" in text


def test_file_that_is_written_in_place_ends_a_version_before_it_is_read(folder: Path, newer_folder: Path) -> None:
    table = next(folder.glob("table-*"))
    with Caller({NAME: folder}) as caller:
        assert caller.infer(REQUEST).status == 200
        os.truncate(table, 100)  # Reading the mapped rows would end the process.
        answer = caller.infer(REQUEST)
        assert answer.status == 503
        assert "was changed in place while it was in use" in answer.error
        assert caller.get("/v2/health/ready").status == 503
        assert caller.get(f"/v2/models/{NAME}/ready").status == 503
        replace(folder, newer_folder)
        assert load(caller)[0] == 200
        assert caller.infer(REQUEST).status == 200
        assert caller.get("/v2/health/ready").status == 200


def test_missing_folder_is_reported_once_and_served_when_it_comes_back(folder: Path, newer_folder: Path) -> None:
    with Caller({NAME: folder}) as caller:
        folder.rename(folder.with_name("away"))
        model = caller.registry.models[NAME]
        found = [caller.runner.run(caller.application.refresh(model)).refused for _ in range(6)]
        assert [len(messages) for messages in found] == [0, 0, 1, 0, 0, 0]
        assert "does not exist" in found[2][0]
        assert caller.infer(REQUEST).status == 200
        shutil.copytree(newer_folder, folder)
        assert caller.runner.run(caller.application.refresh(model)).loaded
        np.testing.assert_array_equal(caller.infer(REQUEST).values(), load_artifact(newer_folder).predict(ROWS))


def test_artifact_that_was_refused_is_not_read_again_until_it_changes(folder: Path, newer_folder: Path) -> None:
    with Caller({NAME: folder}) as caller:
        replace(folder, newer_folder)
        damage_table(folder)
        model = caller.registry.models[NAME]
        found = [caller.runner.run(caller.application.refresh(model)).refused for _ in range(3)]
        assert [len(messages) for messages in found] == [1, 0, 0]
        assert load(caller)[0] == 409
        shutil.rmtree(folder)
        shutil.copytree(newer_folder, folder)
        assert caller.runner.run(caller.application.refresh(model)).loaded


def test_versions_in_numbered_folders(tmp_path: Path, served_folder: Path, newer_folder: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(served_folder, models / "9")
    (models / "notes").mkdir()
    with Caller({NAME: models}, loading=LoadSettings(versions=2)) as caller:
        old = caller.infer(REQUEST)
        shutil.copytree(newer_folder, models / "10")
        assert load(caller)[0] == 200
        assert caller.get(f"/v2/models/{NAME}").contents["versions"] == ["9", "10"]
        path = f"/v2/models/{NAME}/versions"
        np.testing.assert_array_equal(caller.post(f"{path}/9/infer", *REQUEST).values(), old.values())
        newest = caller.infer(REQUEST)
        assert b'"model_version":"10"' in newest.body
        np.testing.assert_array_equal(caller.post(f"{path}/10/infer", *REQUEST).values(), newest.values())
        assert not np.array_equal(newest.values(), old.values())
        answer = caller.get(f"{path}/11/ready")
        assert (answer.status, answer.error) == (
            404,
            f"Model {NAME} has no version '11'. The served version is 9, 10.",
        )
        damage_table(Path(shutil.copytree(served_folder, models / "11")))
        assert load(caller)[0] == 409
        assert caller.get(f"/v2/models/{NAME}").contents["versions"] == ["9", "10"]
        shutil.rmtree(models / "11")
        shutil.rmtree(models / "9")
        assert load(caller)[0] == 200
        assert caller.get(f"/v2/models/{NAME}").contents["versions"] == ["10"]


def test_start_with_a_damaged_version_serves_an_older_one_until_it_is_replaced(
    tmp_path: Path, served_folder: Path, newer_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    models = tmp_path / "models"
    for number in (1, 2):
        shutil.copytree(served_folder, models / str(number))
    damage_table(Path(shutil.copytree(newer_folder, models / "3")))
    (models / "4").mkdir()
    (models / "4" / "manifest.json").write_text("{")
    with Caller({NAME: models}) as caller:
        assert list(caller.registry.models[NAME].versions) == ["2"]
        np.testing.assert_array_equal(caller.infer(REQUEST).values(), load_artifact(served_folder).predict(ROWS))
        assert caller.get("/v2/health/ready").status == 200
        errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        assert len(errors) == 2
        assert str(models / "4") in errors[0]
        assert "cannot be read as JSON" in errors[0]
        assert str(models / "3") in errors[1]
        assert "checksum mismatch" in errors[1]
        assert all(error.endswith("Version 2 is served.") for error in errors)
        text = caller.get("/metrics").body.decode()
        assert f'dlrm_pl_swaps_total{{model="{NAME}",outcome="refused"}} 2' in text
        model = caller.registry.models[NAME]
        found = caller.runner.run(caller.application.refresh(model))
        assert (found.loaded, found.removed, found.refused) == ([], [], [])
        shutil.rmtree(models / "4")
        shutil.copytree(newer_folder, models / "4")
        assert caller.runner.run(caller.application.refresh(model)).loaded == ["4"]


def test_start_takes_older_versions_for_as_many_as_are_asked_for(tmp_path: Path, served_folder: Path) -> None:
    models = tmp_path / "models"
    for number in range(1, 5):
        shutil.copytree(served_folder, models / str(number))
    damage_table(models / "3")
    with Caller({NAME: models}, loading=LoadSettings(versions=2)) as caller:
        assert list(caller.registry.models[NAME].versions) == ["2", "4"]


def test_start_fails_where_no_version_can_be_served(tmp_path: Path, served_folder: Path) -> None:
    models = tmp_path / "models"
    for number in (1, 2):
        damage_table(Path(shutil.copytree(served_folder, models / str(number))))
    with pytest.raises(ArtifactError, match=rf"{models / '2'}.*checksum mismatch"):
        Caller({NAME: models})
    with pytest.raises(ArtifactError, match="checksum mismatch"):
        Caller({NAME: models / "1"})


def test_version_that_is_withdrawn_is_not_served_further_because_an_older_one_is_damaged(
    tmp_path: Path, served_folder: Path, newer_folder: Path
) -> None:
    models = tmp_path / "models"
    shutil.copytree(served_folder, models / "1")
    damage_table(Path(shutil.copytree(served_folder, models / "2")))
    shutil.copytree(newer_folder, models / "3")
    with Caller({NAME: models}) as caller:
        model = caller.registry.models[NAME]
        (models / "3").rename(tmp_path / "withdrawn")
        found = caller.runner.run(caller.application.refresh(model))
        assert (found.loaded, found.removed, len(found.refused)) == (["1"], ["3"], 1)
        assert "checksum mismatch" in found.refused[0]
        np.testing.assert_array_equal(caller.infer(REQUEST).values(), load_artifact(served_folder).predict(ROWS))
        again = caller.runner.run(caller.application.refresh(model))
        assert (again.loaded, again.removed, again.refused) == ([], [], [])


def test_artifact_that_was_not_accepted_is_served_on_request_alone(rejected_folder: Path) -> None:
    with pytest.raises(ArtifactError, match=r"was not accepted.*--allow_not_accepted"):
        Caller({NAME: rejected_folder})
    with Caller({NAME: rejected_folder}, loading=LoadSettings(allow_not_accepted=True)) as caller:
        assert caller.infer(REQUEST).status == 200


def test_clients_that_connect_again_are_answered_or_refused_when_the_server_stops(served_folder: Path) -> None:
    """Without a filter for new connections, some of those that wait to be accepted would be reset."""
    request = message(f"/v2/models/{NAME}/infer", *REQUEST)
    ends: list[str] = []
    answered = threading.Semaphore(0)
    with running({NAME: served_folder}) as server:

        def ask() -> None:
            while True:
                try:
                    with server.connect() as sock:
                        sock.sendall(request)
                        assert read_answer(sock).status == 200
                    answered.release()
                except (OSError, AssertionError) as error:
                    ends.append(type(error).__name__)
                    return

        clients = [threading.Thread(target=ask) for _ in range(24)]
        for client in clients:
            client.start()
        for _ in range(100):
            assert answered.acquire(timeout=20)
        server.stop()
        for client in clients:
            client.join(30)
    assert ends == ["ConnectionRefusedError"] * len(clients)


def test_no_request_fails_while_models_are_swapped_and_the_server_stops(
    folder: Path, newer_folder: Path, served_folder: Path, tmp_path: Path
) -> None:
    expected = {load_artifact(path).predict(ROWS).tobytes() for path in (served_folder, newer_folder)}
    request = message(f"/v2/models/{NAME}/infer", *REQUEST)
    seen: list[bytes] = []
    failures: list[object] = []
    with running({NAME: folder}, loading=LoadSettings(poll_s=0.05)) as server:

        def ask() -> None:
            """Send requests until told to stop."""
            with server.connect() as sock:
                while True:
                    sock.sendall(request)
                    answer = read_answer(sock)
                    if answer.status != 200:
                        failures.append(answer)
                    seen.append(answer.values().tobytes())
                    if answer.headers.get("connection") == "close":
                        return

        clients = [threading.Thread(target=ask) for _ in range(3)]
        for client in clients:
            client.start()
        for number, newer in enumerate([newer_folder, served_folder, newer_folder]):
            swaps = server.metrics.swaps[NAME, "loaded"]
            replace(folder, newer)
            shutil.move(folder.with_name("old"), tmp_path / f"old{number}")
            end = time.monotonic() + 30
            while server.metrics.swaps[NAME, "loaded"] == swaps:
                assert time.monotonic() < end
                time.sleep(0.01)
        server.server.stop()
        for client in clients:
            client.join(30)
            assert not client.is_alive()
    assert failures == []
    assert set(seen) == expected

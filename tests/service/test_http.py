"""The service over HTTP, in process: who may call, what may be asked, what comes back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

TOKEN = "a-token-for-tests"
Still = Callable[..., Path]


@pytest.fixture
def ended() -> list[str]:
    return []


@pytest.fixture
def anybody(tmp_path: Path, ended: list[str]) -> Iterator[TestClient]:
    """A client that does not know the token."""
    from fake_plan import PLAN

    from worker.service.app import Settings, create_app

    (tmp_path / "allowed").mkdir()
    settings = Settings(
        tmp_path / "state", tmp_path / "out", TOKEN, [tmp_path / "allowed"], max_upload_bytes=200_000
    )
    app = create_app(settings, PLAN, lambda: ended.append("end"))
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=True) as client:
        yield client


@pytest.fixture
def client(anybody: TestClient) -> TestClient:
    anybody.headers["Authorization"] = f"Bearer {TOKEN}"
    return anybody


def upload(client: TestClient, still: Path, name: str | None = None, **fields: str) -> Any:
    return client.post("/jobs", files={"still": (name or still.name, still.read_bytes())}, data=fields)


def follow(client: TestClient, job_id: str, until: Callable[[dict[str, Any]], bool] | None = None) -> list[dict]:
    """Long-poll a job to its end (or an event); returns the events."""
    events: list[dict] = []
    since, end = 0, time.monotonic() + 30
    while time.monotonic() < end:
        answer = client.get(f"/jobs/{job_id}/events", params={"since": since, "wait": 5}).json()
        events += answer["events"]
        since = answer["next"]
        if answer["final"] or (until and any(until(event) for event in answer["events"])):
            return events
    raise AssertionError(f"the job did not end: {events[-3:]}")


# --- who may call ---------------------------------------------------------------------------------------------------
def test_without_token_only_name_and_version(anybody: TestClient) -> None:
    told = {key: value for key, value in anybody.get("/health").json().items() if value is not None}
    assert set(told) == {"name", "version", "api"} and told["name"] == "assetize"
    for method, path in (("GET", "/jobs"), ("POST", "/jobs"), ("GET", "/engines"), ("POST", "/shutdown"),
                         ("GET", "/openapi.json"), ("GET", "/nothing"), ("DELETE", "/jobs/" + "0" * 32)):  # fmt: skip
        answer = anybody.request(method, path)
        assert answer.status_code == 401, path
        assert answer.json()["code"] == "service.token" and answer.json()["zh"]
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer x", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \u00e9"])
def test_wrong_tokens(anybody: TestClient, header: str) -> None:
    assert anybody.get("/jobs", headers={"Authorization": header.encode("latin-1")}).status_code == 401


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "192.168.0.9", "", "[::1", "localhost.x"])
def test_a_foreign_host_is_refused_even_with_the_token(client: TestClient, host: str) -> None:
    for path in ("/health", "/jobs"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code == 403 and answer.json()["code"] == "service.foreign"


@pytest.mark.parametrize("host", ["127.0.0.1:1234", "localhost", "LOCALHOST:80", "[::1]:99"])
def test_loopback_names_are_ours(client: TestClient, host: str) -> None:
    assert client.get("/jobs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "file://", "http://127.0.0.1.evil.example", ""])
def test_a_foreign_origin_is_refused(client: TestClient, origin: str) -> None:
    assert client.get("/jobs", headers={"Origin": origin}).status_code == 403
    assert client.get("/jobs", headers={"Origin": "http://127.0.0.1:8000"}).status_code == 200


# --- bodies ---------------------------------------------------------------------------------------------------------
def test_oversize_is_413_with_and_without_a_length(client: TestClient) -> None:
    assert client.post("/jobs", files={"still": ("a.png", b"x" * 300_000)}).status_code == 413
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="still"; filename="a.png"\r\n\r\n'
        while sent < 50_000_000:
            sent += 10_000
            yield b"x" * 10_000

    answer = client.post("/jobs", content=endless(), headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 413 and answer.json()["code"] == "service.too_large"
    assert client.get("/jobs").json() == {"jobs": []}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data; boundary=b", b"garbage"),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: nonsense\r\n\r\nx\r\n--b--"),
        ("multipart/form-data", b"no boundary"),
        ("multipart/form-data; boundary=b",
         b'--b\r\nContent-Disposition: form-data; name="still"\r\n\r\nx\r\n--b--\r\n'),
        ("multipart/form-data; boundary=b",
         b'--b\r\nContent-Disposition: form-data; name="still"; filename="a"\r\n\r\nx\r\n'
         b'--b\r\nContent-Disposition: form-data; name="options"\r\n\r\n{"seed": "\xff"}\r\n--b--\r\n'),
        ("application/json", b"{"),
        ("application/json", b"\xff\xfe"),
        ("application/json", b"[" * 100_000),
        ("application/json", b'{"path": "\\ud800"}'),
        ("application/json", b'{"path": "/x", "options": {"engines": {"\\ud800": "x"}}}'),
        ("application/json", b'{"path": "/x", "options": {"seed": 1e400}}'),
        ("application/json", b'{"path": "/x", "extra": 1}'),
        ("text/plain", b"x"),
        ("", b""),
    ],
)  # fmt: skip
def test_garbage_is_4xx_with_a_sentence(client: TestClient, kind: str, body: bytes) -> None:
    answer = client.post("/jobs", content=body, headers={"Content-Type": kind})
    assert 400 <= answer.status_code < 500, answer.text
    assert set(answer.json()) == {"code", "en", "zh", "fix"}
    assert client.get("/jobs").json() == {"jobs": []}
    assert not list((client.app.state.service.uploads).glob("*/*"))


@pytest.mark.parametrize(
    "options", ["[]", "{", '{"max_props": 99}', '{"nonsense": 1}', '{"hfov_deg": 50, "lens_mm": 35}']
)
def test_options_that_make_no_sense(client: TestClient, still: Still, options: str) -> None:
    answer = upload(client, still(), options=options)
    assert answer.status_code == 422 and answer.json()["code"] == "service.invalid"


def test_a_named_engine_that_is_not_here_is_told_at_once(client: TestClient, still: Still) -> None:
    answer = upload(client, still(), options='{"engines": {"scene": "absent"}}')
    assert answer.status_code == 409 and answer.json()["code"] == "engine.not_installed"
    assert answer.json()["fix"] == "pip install absent"


# --- paths ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "path", ["/etc/passwd", "ALLOWED/../still.png", "allowed/still.png", "ALLOWED/link", "\\\\host\\x", "/\x00"]
)
def test_paths_outside_the_allowed_folders_are_refused(
    client: TestClient, still: Still, tmp_path: Path, path: str
) -> None:
    still()
    (tmp_path / "allowed" / "link").symlink_to(tmp_path / "still.png")
    path = path.replace("ALLOWED", str(tmp_path / "allowed"))
    answer = client.post("/jobs", json={"path": path})
    assert answer.status_code == 403 and answer.json()["code"] == "service.path"
    inside = still("allowed/fine.png")
    assert client.post("/jobs", json={"path": str(inside), "output_root": path}).status_code == 403
    assert client.get("/jobs").json() == {"jobs": []}


def test_a_path_in_an_allowed_folder_works(client: TestClient, still: Still, tmp_path: Path) -> None:
    body = {"path": str(still("allowed/fine.png")), "output_root": str(tmp_path / "allowed" / "made")}
    answer = client.post("/jobs", json=body)
    assert answer.status_code == 201
    follow(client, answer.json()["id"])
    assert (tmp_path / "allowed" / "made" / "fine" / "session.json").is_file()


@pytest.mark.parametrize(
    ("name", "kept"),
    [("../../evil.png", "evil.png"), ("C:\\x\\evil.png", "evil.png"), ("-x.png", "_x.png"), ("剧照.png", "剧照.png"),
     (".png", "_png"), ("a.p\u0000ng", "a.png"), ("x" * 400 + ".png", "x" * 120 + ".png")],
)  # fmt: skip
def test_upload_names_are_only_names(client: TestClient, still: Still, name: str, kept: str) -> None:
    from worker.service.paths import upload_name

    assert upload_name(name) == kept
    if "\0" not in name:
        answer = upload(client, still(), name)
        assert answer.status_code == 201
        files = list(client.app.state.service.uploads.rglob("*.*"))
        assert all(file.parent.parent == client.app.state.service.uploads for file in files)


def test_files_of_a_session_and_nothing_else(client: TestClient, still: Still, tmp_path: Path) -> None:
    job = upload(client, still()).json()
    assert client.get(f"/jobs/{job['id']}/files/session.json").status_code in {200, 404}
    follow(client, job["id"])
    base = f"/jobs/{job['id']}/files/"
    assert client.get(base + "session.json").json()["state"] == "done"
    assert client.get(base + "scene/out.txt").text.startswith("scene of")
    folder = Path(client.get(f"/jobs/{job['id']}").json()["folder"])
    (folder / "link").symlink_to(tmp_path / "still.png")
    (folder / ".hidden").write_text("x")
    listed = {file["path"]: file["bytes"] for file in client.get(base.rstrip("/")).json()["files"]}
    assert listed["scene/out.txt"] == (folder / "scene/out.txt").stat().st_size and "session.json" in listed
    assert not {"link", ".hidden"} & listed.keys()
    for path in ("nothing", "..%2f..%2fstill.png", "%2e%2e/%2e%2e/still.png", "scene/..%2f..%2f..%2fstill.png", "link",
                 ".hidden", "", "scene", "%2fetc%2fpasswd", "a%00b", "..%5cstill.png", "x" * 5000):  # fmt: skip
        answer = client.get(base + path)
        assert answer.status_code == 404, path
        assert answer.json()["code"] in {"service.no_file", "http.404"}


# --- jobs -----------------------------------------------------------------------------------------------------------
def test_a_job_from_upload_to_session(client: TestClient, still: Still, tmp_path: Path) -> None:
    answer = upload(client, still("shot 1.png", lighting=["warn"]), options='{"seed": 7}')
    assert answer.status_code == 201
    job = answer.json()
    assert (job["name"], job["options"]["seed"]) == ("shot 1.png", 7)
    events = follow(client, job["id"])
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[0]["event"] == "job.started" and events[-1]["event"] == "job.finished"
    record = client.get(f"/jobs/{job['id']}").json()
    assert (record["state"], record["fraction"], record["exit_code"], record["warnings"]) == ("done", 1.0, 0, 1)
    assert record["folder"] == str(tmp_path / "out" / "shot 1")
    assert json.loads((tmp_path / "out" / "shot 1" / "session.json").read_text())["options"]["seed"] == 7


def test_events_as_a_stream_resume_where_they_stopped(client: TestClient, still: Still) -> None:
    job = upload(client, still()).json()
    url, kind = f"/jobs/{job['id']}/events", {"Accept": "text/event-stream"}
    text = client.get(url, headers=kind).text
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.strip().split("\n\n")]
    assert blocks[-1]["event"] == "job.finished"
    assert all(json.loads(block["data"])["seq"] == int(block["id"]) for block in blocks)
    rest = client.get(url, headers=kind | {"Last-Event-ID": blocks[-2]["id"]}).text
    assert rest.count("event: ") == 1 and "job.finished" in rest


def test_a_failed_still_is_a_failed_job_with_its_sentence(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "t.png").write_text("no picture")
    job = upload(client, tmp_path / "t.png").json()
    events = follow(client, job["id"])
    record = client.get(f"/jobs/{job['id']}").json()
    assert (record["state"], record["exit_code"], record["folder"]) == ("failed", 2, None)
    assert record["error"]["code"] == "input.not_a_picture" == events[-1]["data"]["error"]["code"]


def test_cancel_stops_at_once_and_retry_goes_on(client: TestClient, still: Still) -> None:
    job = upload(client, still(scene=["child", "ok"])).json()
    follow(client, job["id"], lambda e: e["event"] == "stage.started" and e["data"]["stage"] == "scene")
    assert client.delete(f"/jobs/{job['id']}").status_code == 409
    assert client.post(f"/jobs/{job['id']}/retry").status_code == 409
    start = time.monotonic()
    assert client.post(f"/jobs/{job['id']}/cancel").status_code == 200
    follow(client, job["id"])
    assert time.monotonic() - start < 1.5
    record = client.get(f"/jobs/{job['id']}").json()
    assert (record["state"], record["exit_code"]) == ("cancelled", 4)
    assert client.post(f"/jobs/{job['id']}/cancel").json()["state"] == "cancelled"
    assert client.post(f"/jobs/{job['id']}/retry").json()["state"] in {"queued", "running"}
    deadline = time.monotonic() + 15
    while (record := client.get(f"/jobs/{job['id']}").json())["state"] != "done":
        assert time.monotonic() < deadline, record
        time.sleep(0.05)
    started = [e for e in follow(client, job["id"]) if e["event"] == "job.started"]
    assert started[1]["data"]["kept"] == ["plate", "geometry"]


def test_one_runs_the_others_wait_their_turn(client: TestClient, still: Still, tmp_path: Path) -> None:
    first = upload(client, still("1.png", plate=["wait"])).json()["id"]
    follow(client, first, lambda e: e["event"] == "progress")
    second, third = (upload(client, still(f"{n}.png")).json() for n in (2, 3))
    assert (second["state"], second["position"], third["position"]) == ("queued", 1, 2)
    assert client.post(f"/jobs/{second['id']}/cancel").json()["state"] == "cancelled"
    assert client.get(f"/jobs/{third['id']}").json()["position"] == 1
    (tmp_path / "scratch" / "go").touch()
    follow(client, third["id"])
    records = {r["id"]: r for r in client.get("/jobs").json()["jobs"]}
    assert [records[i]["state"] for i in (first, second["id"], third["id"])] == ["done", "cancelled", "done"]
    assert records[first]["finished"] <= records[third["id"]]["started"]
    assert [r["name"] for r in client.get("/jobs").json()["jobs"]] == ["3.png", "2.png", "1.png"]


def test_waiting_jobs_change_their_turn(client: TestClient, still: Still, tmp_path: Path) -> None:
    first = upload(client, still("1.png", plate=["wait"])).json()["id"]
    follow(client, first, lambda e: e["event"] == "progress")
    ids = [upload(client, still(f"{n}.png")).json()["id"] for n in (2, 3, 4)]

    def order() -> list[str]:
        records = [client.get(f"/jobs/{job_id}").json() for job_id in ids]
        return [record["name"][0] for record in sorted(records, key=lambda record: record["position"])]

    for number, to, then in ((4, "up", "243"), (2, "last", "432"), (3, "first", "342"), (3, "up", "342"),
                             (2, "down", "342"), (3, "down", "432")):  # fmt: skip
        assert client.post(f"/jobs/{ids[number - 2]}/move", json={"to": to}).status_code == 200
        assert "".join(order()) == then
    refused = client.post(f"/jobs/{first}/move", json={"to": "up"})
    assert refused.status_code == 409 and refused.json()["code"] == "service.not_waiting"
    assert client.post(f"/jobs/{ids[0]}/move", json={"to": "sideways"}).status_code == 422
    (tmp_path / "scratch" / "go").touch()
    for job_id in ids:
        follow(client, job_id)
    records = sorted((client.get(f"/jobs/{job_id}").json() for job_id in ids), key=lambda record: record["started"])
    assert [record["name"][0] for record in records] == ["4", "3", "2"]


def test_the_list_may_leave_old_ended_jobs_out(client: TestClient, still: Still, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        follow(client, upload(client, still(f"{number}.png")).json()["id"])
    waits = upload(client, still("4.png", plate=["wait"])).json()["id"]
    follow(client, waits, lambda e: e["event"] == "progress")

    def names(**query: int) -> list[str]:
        return [record["name"][0] for record in client.get("/jobs", params=query).json()["jobs"]]

    assert names() == names(ended=-1) == ["4", "3", "2", "1"]
    assert names(ended=1) == ["4", "3"] and names(ended=0) == ["4"]
    (tmp_path / "scratch" / "go").touch()
    follow(client, waits)


def test_delete_forgets_the_job_and_keeps_its_files_unless_asked(client: TestClient, still: Still) -> None:
    for files in (False, True):
        job = upload(client, still()).json()
        follow(client, job["id"])
        folder = Path(client.get(f"/jobs/{job['id']}").json()["folder"])
        assert client.delete(f"/jobs/{job['id']}", params={"files": files}).json() == {"ok": True}
        assert client.get(f"/jobs/{job['id']}").status_code == 404
        assert folder.exists() is not files
        assert not (client.app.state.service.uploads / job["id"]).exists()


def test_engines_and_shutdown(client: TestClient, ended: list[str]) -> None:
    import os

    rows = client.get("/engines").json()["engines"]
    assert {(row["stage"], row["name"]) for row in rows} >= {("scene", "embedded"), ("scene", "absent")}
    assert client.post("/shutdown", json={"pid": os.getpid() + 1}).status_code == 409 and not ended
    assert client.post("/shutdown", json={"pid": os.getpid()}).status_code == 202 and ended == ["end"]


@pytest.mark.parametrize("path", ["/jobs/x", "/jobs/" + "0" * 32, "/nothing", "/jobs/" + "0" * 32 + "/events"])
def test_what_is_not_there_is_told_as_a_sentence(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in {404, 422} and set(answer.json()) == {"code", "en", "zh", "fix"}
    assert client.put("/jobs").status_code == 405


def test_openapi_names_every_answer(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    assert set(schema["paths"]) == {
        "/health", "/jobs", "/jobs/{job_id}", "/jobs/{job_id}/cancel", "/jobs/{job_id}/retry",
        "/jobs/{job_id}/move", "/jobs/{job_id}/files",
        "/jobs/{job_id}/events", "/jobs/{job_id}/files/{path}", "/engines", "/shutdown",
    }  # fmt: skip
    bodies = schema["paths"]["/jobs"]["post"]["requestBody"]["content"]
    assert set(bodies) == {"multipart/form-data", "application/json"}
    for path, methods in schema["paths"].items():
        for operation in methods.values():
            assert "403" in operation["responses"] and operation["security"], path
            for reference in _references(operation):
                assert reference.rpartition("/")[2] in schema["components"]["schemas"]


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)

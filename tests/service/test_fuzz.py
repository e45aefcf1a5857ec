"""A thousand requests made from the service's own OpenAPI: no answer is a 5xx, none is undocumented."""

from __future__ import annotations

import collections
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

TOKEN = "a-token-for-tests"
OPERATIONS = 13
EXAMPLES = 100


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The service on a port of its own; its queue takes jobs and runs them, as it would."""
    from fake_plan import PLAN

    from worker.service.app import Settings, create_app

    home = tmp_path_factory.mktemp("fuzz")
    app = create_app(Settings(home / "state", home / "out", TOKEN), PLAN)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(timeout=20)
    listener.close()
    assert not thread.is_alive()


def test_a_thousand_fuzzed_requests_never_break_it(address: str) -> None:
    token = {"Authorization": f"Bearer {TOKEN}"}
    schema = schemathesis.openapi.from_dict(requests.get(f"{address}/openapi.json", headers=token, timeout=10).json())
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) == OPERATIONS
    statuses: collections.Counter[int] = collections.Counter()

    @given(st.data())
    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def fuzz(data: st.DataObject) -> None:
        for operation in operations:
            case = data.draw(operation.as_strategy())
            if case.query and "wait" in case.query:
                case.query["wait"] = 0  # a long poll that is waited for is slow, not more telling
            response = case.call(base_url=address, headers=token)
            statuses[response.status_code] += 1
            documented = {int(code) for code in operation.definition.raw["responses"]}
            assert response.status_code < 500, (response.status_code, case.as_curl_command())
            assert response.status_code in documented, (response.status_code, case.as_curl_command())

    fuzz()
    assert statuses.total() >= 1000
    assert {200, 404, 422} <= set(statuses), f"the requests must get past the guard to mean anything: {statuses}"
    assert requests.get(f"{address}/health", timeout=10).json()["name"] == "assetize"


def test_fuzzed_paths_of_a_real_session_stay_inside(tmp_path: Path) -> None:
    from worker.service.paths import NotFound, inside

    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    folder = tmp_path / "session"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "file.txt").write_text("fine")
    assert inside(folder, "sub/file.txt").read_text() == "fine"
    piece = st.sampled_from(["..", ".", "", "sub", "file.txt", "secret.txt", "/", "\\", "\0", "~", "%2e%2e", "C:"])

    @given(st.lists(piece, max_size=6).map("/".join) | st.text(max_size=30))
    @settings(deadline=None)
    def attack(path: str) -> None:
        try:
            found = inside(folder, path)
        except NotFound:
            return
        assert found == (folder / "sub" / "file.txt").resolve()

    attack()

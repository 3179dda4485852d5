"""The recording proxy with the official client: everything passes as it arrives, texts are kept."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import httpx2
import openai
import pytest
import uvicorn
from tests.streaming_upstream import BROKEN_OFF, StandIn, stand_in

from understudy.errors import ConfigError
from understudy.serving.limits import ProxyLimits
from understudy.serving.record_files import record_files
from understudy.serving.record_proxy import ProxySettings, proxy_app, upstream_url
from understudy.serving.records import KeepTexts

KEY = "sk-secret-of-the-client"


@dataclass(frozen=True)
class Recording:
    """A proxy that is running."""

    root: str
    client: openai.OpenAI
    """The official client, as an application makes it."""

    def metric(self, line: str) -> float:
        """The value of a line of the proxy's metrics; 0 if it is not there."""
        page = httpx2.get(f"{self.root}/understudy/metrics").text
        return next((float(one.split()[-1]) for one in page.splitlines() if one.startswith(f"{line} ")), 0.0)


@contextmanager
def recording(upstream: str, folder: Path, limits: ProxyLimits | None = None) -> Iterator[Recording]:
    """A proxy within the context; after it, everything is written."""
    app = proxy_app(ProxySettings(upstream_url(upstream), KeepTexts(folder), limits or ProxyLimits()))
    config = uvicorn.Config(app, log_level="critical", access_log=False, server_header=False, date_header=False)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as accepting:
        thread = Thread(target=server.run, kwargs={"sockets": [accepting]})
        thread.start()
        try:
            root = f"http://127.0.0.1:{accepting.getsockname()[1]}"
            with openai.OpenAI(base_url=f"{root}/v1", api_key=KEY, max_retries=0) as client:
                yield Recording(root, client)
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def upstream() -> Iterator[StandIn]:
    """A stand-in for the endpoint."""
    with stand_in() as own:
        yield own


def user(text: str) -> list[Any]:
    """The messages of a request."""
    return [{"role": "user", "content": text}]


def kept(folder: Path) -> list[dict[str, Any]]:
    """The lines of a folder."""
    return [json.loads(line) for path in record_files(folder) for line in path.read_text().splitlines()]


def test_the_client_gets_what_the_upstream_sends(upstream: StandIn, tmp_path: Path) -> None:
    """Chats, completions of several prompts, and a stream; each is recorded under the id that the client has."""
    with recording(upstream.url, tmp_path / "texts") as proxy:
        create: Any = proxy.client.chat.completions.create
        chat = create(
            model="large", messages=user("a b"), temperature=0.5, n=2, user="Ada", extra_headers={"X-Own": "1"}
        )
        parts = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "c"}]},
        ]
        create(model="large", messages=parts)
        texts = proxy.client.completions.create(model="large", prompt=["d", "e"])
        stream = create(model="large", messages=user("f g"), stream=True, stream_options={"include_usage": True})
        pieces = [piece.choices[0].delta.content for piece in stream if piece.choices]

    assert [choice.message.content for choice in chat.choices] == ["A B", "A B"]
    assert [choice.text for choice in texts.choices] == ["D", "E"]
    assert pieces == ["F", " G", None]
    method, path, headers, body = upstream.requests[0]
    assert (method, path, headers["authorization"], headers["x-own"]) == (
        "POST",
        "/v1/chat/completions",
        f"Bearer {KEY}",
        "1",
    )
    assert json.loads(body)["user"] == "Ada"

    lines = kept(tmp_path / "texts")
    found = {line["request"]["messages"][-1]["content"]: line for line in lines}
    assert [line["id"] for line in lines] == [chat.id, "chatcmpl-c", "chatcmpl-d", "chatcmpl-d", "chatcmpl-f-g"]
    outputs = {
        source: [choice["message"]["content"] for choice in line["response"]["choices"]]
        for source, line in found.items()
    }
    assert outputs == {"a b": ["A B", "A B"], "c": ["C"], "d": ["D"], "e": ["E"], "f g": ["F G"]}
    assert {line["answered_by"] for line in lines} == {"teacher"}
    assert found["a b"]["request"] == {"messages": user("a b"), "model": "large", "temperature": 0.5, "n": 2}
    assert found["c"]["request"]["messages"][0] == {"role": "system", "content": "Be brief."}
    assert found["f g"]["usage"] == {"prompt_tokens": 3, "completion_tokens": 2}
    assert found["f g"]["response"]["model"] == "large-2026"
    assert not any(word in path.read_text() for path in record_files(tmp_path / "texts") for word in (KEY, "Ada"))


def test_pieces_arrive_before_the_response_ends(upstream: StandIn, tmp_path: Path) -> None:
    """The upstream holds the rest back until the client has got the first piece."""
    upstream.released.clear()
    with recording(upstream.url, tmp_path / "texts") as proxy:
        stream = proxy.client.chat.completions.create(model="large", messages=user("a b"), stream=True)
        first = next(iter(stream)).choices[0].delta.content
        upstream.released.set()
        assert [first, *(piece.choices[0].delta.content for piece in stream)] == ["A", " B", None]
    assert upstream.in_time == [True]
    assert len(kept(tmp_path / "texts")) == 1


def test_other_paths_pass_unrecorded(upstream: StandIn, tmp_path: Path) -> None:
    """Query, encoding of the path, bodies of unknown length, headers and redirects stay; cookies are not shared."""
    with recording(upstream.url, tmp_path / "texts") as proxy, httpx2.Client(base_url=proxy.root) as http:
        answer = http.get("/v1/models%2Fx?a=%20b&a=c")
        assert (answer.status_code, answer.json()) == (200, {"path": "/v1/models%2Fx?a=%20b&a=c"})
        assert answer.headers["set-cookie"] == "session=first"
        http.cookies.clear()
        sent = http.post("/v1/files", content=iter([b"x" * 70_000, b"y"]))
        assert (sent.content, sent.headers["x-own"]) == (b"received 70001 bytes", "kept")
        assert http.get("/understudy/health").json() == {"status": "ok"}
        assert len(sent.headers.get_list("date")) == 1
    assert "cookie" not in upstream.requests[1][2]
    assert "x-forwarded-for" not in upstream.requests[1][2]
    assert list((tmp_path / "texts").iterdir()) == []


def test_what_is_no_text_or_failed_is_not_recorded(upstream: StandIn, tmp_path: Path) -> None:
    """The client gets the upstream's error, its tool call, or half a stream; the metrics count why."""
    with recording(upstream.url, tmp_path / "texts") as proxy:
        create: Any = proxy.client.chat.completions.create
        with pytest.raises(openai.RateLimitError, match="slow down") as refused:
            create(model="large", messages=user("too many"))
        assert refused.value.response.headers["retry-after"] == "7"
        tool = {"type": "function", "function": {"name": "f"}}
        assert create(model="large", messages=user("a"), tools=[tool]).choices[0].message.tool_calls
        with pytest.raises(openai.APIConnectionError):
            list(create(model="large", messages=user(BROKEN_OFF), stream=True))
        create(model="large", messages=user("a"))
        create(model="large", messages=user("a"))
        while proxy.metric('understudy_records_total{outcome="repeated"}') == 0:
            pass
        counts = {
            name: proxy.metric(f'understudy_records_total{{outcome="{name}"}}') for name in ("not_text", "incomplete")
        }
        assert counts == {"not_text": 1, "incomplete": 1}
        assert proxy.metric('understudy_proxy_requests_total{status="429"}') == 1
        assert proxy.metric("understudy_proxy_in_flight") == 0
    assert [line.get("request", {}).get("messages") for line in kept(tmp_path / "texts")] == [user("a"), None]


def test_limits_are_sentences(upstream: StandIn, tmp_path: Path) -> None:
    """A body over the limit is 413, a second request in flight 429, a silent upstream 504, a dead one 502."""
    limits = ProxyLimits(body_bytes=200, record_bytes=150, in_flight=1)
    with recording(upstream.url, tmp_path / "a", limits) as proxy:
        create: Any = proxy.client.chat.completions.create
        with pytest.raises(
            openai.APIStatusError, match=r"the body has \d+ bytes and the proxy's limit is 200"
        ) as large:
            create(model="large", messages=user("a" * 300))
        assert large.value.status_code == 413
        upstream.released.clear()
        stream = create(model="large", messages=user("a b"), stream=True)
        with pytest.raises(openai.RateLimitError, match="1 requests are in flight"):
            create(model="large", messages=user("b"))
        upstream.released.set()
        assert len(list(stream)) == 3  # larger than what is recorded
    assert list((tmp_path / "a").iterdir()) == []

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with (
            recording(url, tmp_path / "b", ProxyLimits(timeout_s=0.05)) as proxy,
            pytest.raises(openai.InternalServerError, match=r"sent nothing for 0.05 s") as late,
        ):
            proxy.client.models.list()
        assert late.value.status_code == 504
    with (
        recording(url, tmp_path / "c") as proxy,
        pytest.raises(openai.InternalServerError, match=r"gave no response .*check that it runs") as dead,
    ):
        proxy.client.models.list()
    assert dead.value.status_code == 502


@pytest.mark.parametrize(
    "url", ["api.openai.com/v1", "ftp://a/v1", "https://", "https://a/v1?key=b", "https://me:pw@a/v1"]
)
def test_an_upstream_is_an_url_without_a_key(url: str) -> None:
    """Others are refused, and a password is not repeated."""
    with pytest.raises(ConfigError, match="--upstream") as refused:
        upstream_url(url)
    assert "pw" not in str(refused.value)

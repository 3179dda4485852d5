"""A server that keeps texts: what it recorded becomes unlabeled inputs of the next student."""

import json
from pathlib import Path

from tests.running_server import serving

from understudy.pipeline.run import Run
from understudy.records import Prediction
from understudy.serving.record_files import record_files
from understudy.serving.records import KeepTexts


def test_a_server_keeps_sources_and_answers(finished: Run, predictions: list[Prediction], tmp_path: Path) -> None:
    """Under the ids of the responses, with tokens and confidence; a repeated request once; errors are not kept."""
    one, two = predictions[:2]
    with serving(finished.folder, keep=KeepTexts(tmp_path / "texts")) as server:
        first = server.chat(one.source)
        again = server.chat(one.source, stream=True)
        several = server.client.completions.create(model="tiny", prompt=[one.source, two.source], max_tokens=2)
        assert server.chat(" ").status_code == 400
        while server.metric('understudy_records_total{outcome="written"}') < 3:
            pass

    lines = [json.loads(line) for path in record_files(tmp_path / "texts") for line in path.read_text().splitlines()]
    whole = first.json()
    assert [line["id"] for line in lines] == [whole["id"], again.headers["x-request-id"], several.id, several.id]
    assert ["request" in line for line in lines] == [True, False, True, True]
    assert lines[0]["answered_by"] == "student"
    assert lines[0]["request"]["messages"] == [{"role": "user", "content": one.source}]
    assert lines[0]["request"]["decoding"] == {"kind": "greedy"}
    assert lines[0]["response"]["choices"][0]["message"]["content"] == one.text
    expected = {name: whole["usage"][name] for name in ("prompt_tokens", "completion_tokens")}
    assert lines[0]["usage"] == expected
    assert 0 < lines[0]["confidence"][0] <= 1
    assert [line["request"]["messages"][0]["content"] for line in lines[2:]] == [one.source, two.source]
    assert [line["response"]["choices"][0]["finish_reason"] for line in lines[2:]] == ["length", "length"]

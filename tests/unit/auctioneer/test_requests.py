"""What the API takes and refuses: contract/auction.md section 2, and the texts of golden/auctioneer-rep.json."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diego.auctioneer.core import go_json
from diego.auctioneer.core.requests import Undecodable, decode_json, decode_lrps, decode_tasks
from diego.auctioneer.core.starts import Demand, LRPStart, TaskStart

LRP = {
    "process_guid": "web",
    "domain": "apps",
    "indices": [0, 2],
    "PlacementTags": ["a"],
    "VolumeDrivers": None,
    "RootFs": "docker:///x",
    "MemoryMB": 1,
    "DiskMB": 2,
    "MaxPids": 3,
}
TASK = {"TaskGuid": "job", "Domain": "apps", "RootFs": "docker:///x", "state": "Invalid", "failed": False}


def encoded(*elements: object) -> bytes:
    return json.dumps(elements).encode()


def test_every_index_is_a_start_of_its_own() -> None:
    demand = Demand("docker:///x", 1, 2, 3, ("a",), None)

    assert decode_lrps(encoded(LRP)).starts == [
        LRPStart("web", 0, "apps", demand),
        LRPStart("web", 2, "apps", demand),
    ]


def test_keys_match_in_any_case() -> None:
    shouted = {key.upper(): value for key, value in LRP.items()}

    assert decode_lrps(encoded(shouted)) == decode_lrps(encoded(LRP))


def test_a_task_may_lie_one_level_down() -> None:
    flat = decode_tasks(encoded(TASK))

    assert flat.starts == [TaskStart("job", "apps", Demand("docker:///x"))]
    assert decode_tasks(encoded({"Task": TASK})) == flat
    assert decode_tasks(encoded({"Task": TASK, **TASK})) == flat


@pytest.mark.parametrize(
    "change",
    [
        {"process_guid": ""},
        {"domain": ""},
        {"indices": []},
        {"indices": None},
        {"RootFs": ""},
        {"MemoryMB": -1},
        {"DiskMB": -1},
    ],
)
def test_an_invalid_element_is_dropped_and_the_others_stay(change: dict[str, object]) -> None:
    asked = decode_lrps(encoded({**LRP, **change}, LRP))

    assert (len(asked.starts), asked.dropped) == (2, 1)


@pytest.mark.parametrize("body", [b"[]", b"null", b"[null]", b"[{}]"])
def test_nothing_asked_for_is_no_fault(body: bytes) -> None:
    assert decode_lrps(body).starts == []
    assert decode_tasks(body).starts == []


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{nope", "invalid character 'n' looking for beginning of object key string"),
        (b"nope", "invalid character 'o' in literal null (expecting 'u')"),
        (b"", "unexpected end of JSON input"),
        (b"[1,", "unexpected end of JSON input"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a":1 "b"}', "invalid character '\"' after object key:value pair"),
        (b"[] x", "invalid character 'x' after top-level value"),
        (b"<html>", "invalid character '<' looking for beginning of value"),
        (b"[-x]", "invalid character 'x' in numeric literal"),
        (b"[1.x]", "invalid character 'x' after decimal point in numeric literal"),
        (b"[1ex]", "invalid character 'x' in exponent of numeric literal"),
        (b'["\x01"]', "invalid character '\\x01' in string literal"),
        (b'["\\q"]', "invalid character 'q' in string escape code"),
        (b'["\\u12g4"]', "invalid character 'g' in \\u hexadecimal character escape"),
        (b"[" * 10_001, "exceeded max depth"),
        (b"{}", "json: cannot unmarshal object into Go value of type []auctioneer.LRPStartRequest"),
        (b'["x"]', "json: cannot unmarshal string into Go value of type auctioneer.LRPStartRequest"),
        (
            b'[{"MemoryMB":"1"}]',
            "json: cannot unmarshal string into Go struct field LRPStartRequest.MemoryMB of type int32",
        ),
        (
            b'[{"MemoryMB":3000000000}]',
            "json: cannot unmarshal number 3000000000 into Go struct field LRPStartRequest.MemoryMB of type int32",
        ),
        (
            b'[{"indices":{}}]',
            "json: cannot unmarshal object into Go struct field LRPStartRequest.indices of type []int",
        ),
    ],
)
def test_what_cannot_be_decoded_is_refused_in_the_originals_words(body: bytes, text: str) -> None:
    with pytest.raises(Undecodable) as refused:
        decode_lrps(body)

    assert str(refused.value) == text


def test_a_tasks_state_is_a_name() -> None:
    with pytest.raises(Undecodable) as refused:
        decode_tasks(encoded({**TASK, "state": 0}))
    assert str(refused.value) == "json: cannot unmarshal number into Go value of type string"

    with pytest.raises(Undecodable):
        decode_tasks(encoded({**TASK, "state": "Sleeping"}))


@given(st.binary(max_size=40))
def test_any_bytes_are_decoded_or_refused(body: bytes) -> None:
    for decode in (decode_lrps, decode_tasks, decode_json):
        with contextlib.suppress(Undecodable):
            decode(body)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_what_is_json_has_no_fault(value: object) -> None:
    assert go_json.fault(json.dumps(value)) is None
    assert go_json.fault(json.dumps(value, indent=1, ensure_ascii=False)) is None

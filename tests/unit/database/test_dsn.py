"""Connection strings in the form of the original's MySQL driver."""

import pytest

from diego.database import DataSource, InvalidDataSource, parse_data_source


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("diego:pw@tcp(10.0.0.1:3306)/diego", DataSource("diego", "pw", "10.0.0.1", 3306, "diego")),
        ("u:p:/@w@tcp(sql-db:3307)/locket", DataSource("u", "p:/@w", "sql-db", 3307, "locket")),
        ("u@tcp([::1]:3306)/s", DataSource("u", "", "::1", 3306, "s")),
        (
            "u:p@tcp(sql-db.service.cf.internal)/s",
            DataSource("u", "p", "sql-db.service.cf.internal", 3306, "s"),
        ),
        ("tcp(h:1)/a%2Fb", DataSource("", "", "h", 1, "a/b")),
    ],
)
def test_a_connection_string_is_read_as_the_original_reads_it(text: str, source: DataSource) -> None:
    assert parse_data_source(text) == source


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "no /schema"),
        ("u:secret@tcp(h:1)", "no /schema"),
        ("u:secret@tcp(h:1)/", "schema is empty"),
        ("u:secret@tcp(h:1)/s?tls=skip-verify", "parameters"),
        ("u:secret@h:1/s", "tcp"),
        ("u:secret@udp(h:1)/s", "tcp"),
        ("u:secret@tcp()/s", "host:port"),
        ("u:secret@tcp(h:99999)/s", "port"),
        ("postgres://u:secret@h:5432/s", "tcp"),
    ],
)
def test_another_form_is_refused_without_telling_the_password(text: str, fault: str) -> None:
    with pytest.raises(InvalidDataSource, match=fault) as refused:
        parse_data_source(text)

    assert "secret" not in str(refused.value)


def test_the_password_is_not_shown() -> None:
    assert "secret" not in repr(parse_data_source("u:secret@tcp(h:1)/s"))

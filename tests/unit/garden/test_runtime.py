"""What the runtime says when it fails, in garden's words."""

from pathlib import Path

import pytest

from diego.garden.errors import ContainerNotFound, ExecutableNotFound, GardenError, from_document
from diego.garden.runtime import Runtime, failure, start_error


def test_the_last_error_of_the_log_counts(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        '{"level":"warning","msg":"w"}\n{"level":"error","msg":"first"}\n'
        '{"level":"error","msg":"exec failed: last\\n"}\nno json\n{"level":"info","msg":"i"}\n'
    )

    assert failure(log) == "exec failed: last"
    assert failure(tmp_path / "none") == "failed without a word"


@pytest.mark.parametrize(
    "text",
    [
        'exec failed: unable to start container process: exec: "x": executable file not found in $PATH',
        'exec failed: unable to start container process: exec: "/x": stat /x: no such file or directory',
    ],
)
def test_a_missing_program_has_a_type(text: str) -> None:
    error = start_error(text)

    assert isinstance(error, ExecutableNotFound)
    assert str(error) == text


@pytest.mark.parametrize(
    "text", ['exec failed: exec: "/etc": permission denied', "open /proc/1: no such file or directory"]
)
def test_other_failures_have_none(text: str) -> None:
    assert type(start_error(text)) is GardenError


def test_a_process_is_started_by_a_command_that_ends_at_once() -> None:
    command = Runtime("/runc", Path("/root")).exec_command("h", Path("/p"))

    assert command[:3] == ["/runc", "--root", "/root"]
    assert command[-2:] == ["/p/config.json", "h"]
    assert "--detach" in command
    assert command[command.index("--pid-file") + 1] == "/p/pid"


def test_a_pea_is_started_so_too() -> None:
    command = Runtime("/runc", Path("/root")).run_command("h.pea", Path("/bundle"), Path("/p"))

    assert command[:3] == ["/runc", "--root", "/root"]
    assert command[-3:] == ["--bundle", "/bundle", "h.pea"]
    assert {"run", "--detach", "--no-new-keyring"} <= set(command)
    assert command[command.index("--log") + 1] == "/p/runtime.log"
    assert command[command.index("--pid-file") + 1] == "/p/pid"


def test_an_error_is_rebuilt_by_the_client_as_it_was() -> None:
    error = ContainerNotFound("h")

    again = from_document(error.document())

    assert type(again) is ContainerNotFound
    assert again.document() == {
        "Type": "ContainerNotFoundError",
        "Message": "unknown handle: h",
        "Handle": "h",
        "ProcessID": "",
        "Binary": "",
    }

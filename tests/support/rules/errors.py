"""Error numbers and texts: section 13."""

from support.rules.one import Break

TYPES = "models/errors"
NUMBERS = "unit/models/test_errors.py::test_the_numbers_are_the_contracts"
TEXTS = "unit/models/test_errors.py::test_each_error_has_the_originals_number_and_text"


def _text(rule: str, text: str) -> Break:
    return Break("13", rule, TYPES, f'"{text}"', f'"{text}."', TEXTS)


def _number(name: str, number: int) -> Break:
    words = f"    {name} = {number}\n"
    return Break("13", f"{name}: {number}", TYPES, words, f"    {name} = {number + 40}\n", NUMBERS)


BREAKS = (
    *(
        _number(name, number)
        for name, number in (
            ("UNKNOWN_ERROR", 0), ("INVALID_RECORD", 3), ("INVALID_REQUEST", 4), ("INVALID_RESPONSE", 5),
            ("INVALID_PROTOBUF_MESSAGE", 6), ("INVALID_JSON", 7), ("FAILED_TO_OPEN_ENVELOPE", 8),
            ("INVALID_STATE_TRANSITION", 9), ("RESOURCE_CONFLICT", 11), ("RESOURCE_EXISTS", 12),
            ("RESOURCE_NOT_FOUND", 13), ("ROUTER_ERROR", 14), ("ACTUAL_LRP_CANNOT_BE_CLAIMED", 15),
            ("ACTUAL_LRP_CANNOT_BE_STARTED", 16), ("ACTUAL_LRP_CANNOT_BE_CRASHED", 17),
            ("ACTUAL_LRP_CANNOT_BE_FAILED", 18), ("ACTUAL_LRP_CANNOT_BE_REMOVED", 19),
            ("ACTUAL_LRP_CANNOT_BE_UNCLAIMED", 21), ("RUNNING_ON_DIFFERENT_CELL", 24), ("GUID_GENERATION", 26),
            ("DESERIALIZE", 27), ("DEADLOCK", 28), ("UNRECOVERABLE", 29), ("LOCK_COLLISION", 30), ("TIMEOUT", 31),
        )
    ),
    _text("0, text", "the request failed for an unknown reason"),
    _text("4, text", "the request received is invalid"),
    _text("11, text", "the requested resource is in a conflicting state"),
    _text("12, text", "the requested resource already exists"),
    _text("13, text", "the requested resource could not be found"),
    _text("15, text", "cannot claim actual LRP"),
    _text("16, text", "cannot start actual LRP"),
    _text("17, text", "cannot crash actual LRP"),
    _text("18, text", "cannot fail actual LRP"),
    _text("19, text", "cannot remove actual LRP"),
    _text("21, text", "cannot unclaim actual LRP"),
    _text("26, text", "cannot generate random guid"),
    _text("27, text", "could not deserialize record"),
    _text("28, text", "the request failed due to deadlock"),
    Break("13", "9, text with both states", TYPES, 'f"Cannot transition from {before} to {after}"', 'f"Cannot transition from {after} to {before}"', "test_tasks.py::test_every_other_transition_is_refused_by_name"),
    Break("13", "24, text with both cells", TYPES, 'f"Running on cell {stored} not {given}"', 'f"Running on cell {given} not {stored}"', TEXTS),
    Break("13", "0, text of SQL errors", "database/errors", 'text = f"sql-unknown, error code: {code}, flavor: {FLAVOR}"', 'text = f"sql-unknown, flavor: {FLAVOR}"', "unit/database/test_errors.py::test_each_error_of_the_database_has_its_text"),
    Break("13", "28, MySQL 1213 is tried again", "database/errors", "_DEADLOCK = {1213, 1205, 1020}", "_DEADLOCK = {1205, 1020}", "unit/database/test_errors.py::test_each_error_of_the_database_has_its_kind"),
    Break("13", "12, MySQL 1062", "database/errors", "_DUPLICATE = {1062}", "_DUPLICATE = {1063}", "unit/database/test_errors.py::test_each_error_of_the_database_has_its_kind"),
    Break("13", "4, MySQL 1406", "database/errors", "_BAD_VALUE = {1406, 1264, 1366}", "_BAD_VALUE = {1264, 1366}", "unit/database/test_errors.py::test_each_error_of_the_database_has_its_kind"),
    Break("13", "29, MySQL 1146", "database/errors", "_MISSING_TABLE = {1146, 1049}", "_MISSING_TABLE = {1049}", "unit/database/test_errors.py::test_each_error_of_the_database_has_its_kind"),
    Break("13", "29, text and end of the server", "bbs/store/sql", '            except MissingTable as error:\n                raise Unrecoverable(f"Unrecoverable Error: {error.cause}") from error\n', "            except MissingTable as error:\n                raise CommitFailed(_told(error)) from error\n", "contract/test_store_sql.py::test_a_missing_table_is_unrecoverable"),
    Break("13", "0, Locket's error with gRPC's text", "bbs/outside", 'f"rpc error: code = {code} desc = {error.text}"', "error.text", "test_service.py::TestLists::test_a_locket_that_does_not_answer_is_told_in_grpcs_words"),
    Break("13", "0, not 7, for a presence that cannot be read", "bbs/outside", "raise BbsError(ErrorType.UNKNOWN_ERROR, str(error)) from error", "raise BbsError(ErrorType.INVALID_JSON, str(error)) from error", "test_service.py::TestLists::test_a_cell_that_cannot_be_read_is_an_unknown_error"),
    Break("13", "4, a body that is no message", "bbs/views/routes", "    except (DecodeError, UndecodableError) as error:\n        raise BbsError.invalid_request() from error\n", "    except (DecodeError, UndecodableError):\n        return asked()\n", "test_views.py::test_a_body_that_is_no_message_is_told_so"),
    Break("13", "4, a value too long for its column", "validation", "    if any(len(value) > characters for value in values):\n        raise BbsError.invalid_request()\n", "", "test_commits.py::test_an_instance_whose_names_are_too_long_is_refused_as_well"),
    Break("13", "4, a text of a task too long for its column", "bbs/commits", "                raise BbsError.invalid_request()\n", "                pass\n", "test_commits.py::test_a_task_whose_names_are_too_long_is_refused_as_well"),
    Break("13", "4, a route that is no JSON", "desired_lrps", "            raise BbsError.invalid_request() from error\n", "            del error\n", "test_desired_lrps.py::TestCreate::test_a_route_that_is_not_json_is_refused"),
    Break("13", "4, reject in a wrong state", "tasks", "        raise BbsError.invalid_request()\n    rejected", '        raise BbsError.invalid_transition("Completed", "Pending")\n    rejected', "test_tasks.py::test_a_task_that_has_ended_cannot_be_rejected"),
)  # fmt: skip

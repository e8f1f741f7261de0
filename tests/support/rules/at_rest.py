"""Encryption at rest: section 10."""

from support.rules.one import Break

CIPHER, ROWS, SQL = "bbs/store/encryption", "bbs/store/rows", "bbs/store/sql"
PACKED = "unit/bbs_store/test_encryption.py::test_a_text_is_packed_as_the_original_packs_it"
NO_TEXT = "unit/bbs_store/test_encryption.py::test_what_is_not_such_a_text_is_undecodable"
KEYS = "unit/bbs_store/test_encryption.py::test_keys_that_do_not_fit_together_are_refused"
COLUMNS = "unit/bbs_store/test_rows.py::test_the_encrypted_columns_are_the_originals"
CONTENT = "unit/bbs_store/test_rows.py::test_protobuf_columns_have_a_header_and_json_columns_have_none"
ROTATED = "contract/test_store_sql.py::test_with_a_new_active_key_everything_is_encrypted_anew"

BREAKS = (
    Break("10", "key: SHA-256 of the passphrase", CIPHER, "AESGCM(hashlib.sha256(passphrase.encode()).digest())", "AESGCM(hashlib.sha512(passphrase.encode()).digest()[:32])", PACKED),
    Break("10", "label of at most 127 bytes", CIPHER, "LONGEST_LABEL = 127", "LONGEST_LABEL = 128", KEYS),
    Break("10", "label of at least 1 byte", CIPHER, "if not 1 <= len(label.encode()) <= LONGEST_LABEL:", "if not len(label.encode()) <= LONGEST_LABEL:", KEYS),
    Break("10", "a label is counted in bytes", CIPHER, "        encoded = active_label.encode()\n        self._head = bytes([len(encoded)])", "        encoded = active_label.encode()\n        self._head = bytes([len(active_label)])", "unit/bbs_store/test_encryption.py::test_a_label_of_127_bytes_is_fine"),
    Break("10", "GCM without additional data", CIPHER, "self._active.encrypt(nonce, content, None)", 'self._active.encrypt(nonce, content, b"diego")', PACKED),
    Break("10", "a nonce of 12 bytes", CIPHER, "NONCE_BYTES = 12", "NONCE_BYTES = 16", PACKED),
    Break("10", "a random nonce each time", CIPHER, "            nonce = next(self._nonces, None)\n", "            nonce = bytes(NONCE_BYTES)\n", "unit/bbs_store/test_encryption.py::test_no_nonce_is_used_twice"),
    Break("10", "packed: the label's length and the label first", CIPHER, "self._head = bytes([len(encoded)]) + encoded", "self._head = encoded + bytes([len(encoded)])", PACKED),
    Break("10", "packed: nonce, then ciphertext and tag", CIPHER, "packed = self._head + nonce + self._active.encrypt(nonce, content, None)", "packed = self._head + self._active.encrypt(nonce, content, None) + nonce", PACKED),
    Break("10", "text: 02 first", CIPHER, 'PREFIX = "02"', 'PREFIX = "01"', PACKED),
    Break("10", "text: standard base64", CIPHER, 'return PREFIX + binascii.b2a_base64(packed, newline=False).decode("ascii")', "return PREFIX + packed.hex()", PACKED),
    Break("10", "any other prefix is an error", CIPHER, '    if not text.startswith(PREFIX):\n        raise Undecodable(f"unknown encoding {text[:2]!r}")\n', "", "unit/bbs_store/test_encryption.py::test_any_other_prefix_is_an_error"),
    Break("10", "what was changed does not decrypt", CIPHER, '        except (InvalidTag, ValueError) as error:\n            raise Undecodable("does not decrypt") from error\n', '        except (InvalidTag, ValueError):\n            return b""\n', NO_TEXT),
    Break("10", "protobuf columns: 0x02 0x00 first", ROWS, 'HEADER = b"\\x02\\x00"', 'HEADER = b"\\x01\\x00"', CONTENT),
    Break("10", "the header is ignored on reading", ROWS, "    if len(content) < len(HEADER):\n", "    if not content.startswith(HEADER):\n", "unit/bbs_store/test_rows.py::test_the_bytes_of_the_header_do_not_matter"),
    Break("10", "JSON columns: no header", ROWS, "_encrypted(_json(None if routes is None else", "_encrypted(HEADER + _json(None if routes is None else", CONTENT),
    Break("10", "run_info: DesiredLRPRunInfo, with created_at", ROWS, "created_at=created_at, **_shared(parts))", "**_shared(parts))", CONTENT),
    Break("10", "volume_placement: VolumePlacement", ROWS, "_encrypted(HEADER + placement, encryption),", "_encrypted(HEADER, encryption),", CONTENT),
    Break("10", "routes: a JSON object, its values as they are", ROWS, 'b":" + routes[name] for name', 'b":" + _json(routes[name].decode()) for name', "unit/bbs_store/test_rows.py::test_json_columns_hold_what_the_original_writes"),
    Break("10", "routes: null is read", ROWS, '    if text.startswith("null", at):\n        return {}\n', "", "unit/bbs_store/test_rows.py::test_null_columns_of_older_versions_are_read"),
    Break("10", "desired metric_tags: static or dynamic by name", ROWS, 'value["dynamic"] = metric_tags_pb2.MetricTagValue.DynamicValue.Name(dynamic)', 'value["dynamic"] = str(int(dynamic))', "unit/bbs_store/test_rows.py::test_json_columns_hold_what_the_original_writes"),
    Break("10", "net_info: ActualLRPNetInfo", ROWS, "_encrypted(HEADER + lrp.net_info, encryption),", "_encrypted(HEADER, encryption),", "unit/bbs_store/test_rows.py::test_an_actual_lrp_comes_back_whole"),
    Break("10", "internal_routes: a list of hostnames", ROWS, '[{"hostname": name} for name in routes]', "list(routes)", CONTENT),
    Break("10", "internal_routes: or null", ROWS, "_json(None if routes is None else", "_json([] if routes is None else", "unit/bbs_store/test_rows.py::test_json_columns_of_an_instance_that_never_told_are_null"),
    Break("10", "actual metric_tags: or null", ROWS, "_json(lrp.metric_tags if lrp.metric_tags is None else dict(lrp.metric_tags))", "_json(dict(lrp.metric_tags or {}))", "unit/bbs_store/test_rows.py::test_json_columns_of_an_instance_that_never_told_are_null"),
    Break("10", "task_definition: TaskDefinition", ROWS, "encryption.encrypt(HEADER + task.definition)", "encryption.encrypt(task.definition)", CONTENT),
    Break("10", "placement_tags: not encrypted", ROWS, "        json_list(parts.PlacementTags),\n", "        encryption.encrypt(json_list(parts.PlacementTags).encode()),\n", COLUMNS),
    Break("10", "annotation: not encrypted", ROWS, "        parts.annotation,\n        parts.instances,", "        encryption.encrypt(parts.annotation.encode()),\n        parts.instances,", COLUMNS),
    Break("10", "result: not encrypted", ROWS, "        task.result,\n", "        encryption.encrypt(task.result.encode()),\n", COLUMNS),
    Break("10", "rotation: the active label is among the keys", CIPHER, '        if active_label not in passphrases:\n            raise InvalidKeys(f"no passphrase for the active label {active_label!r}")\n', "", "unit/bbs_store/test_encryption.py::test_keys_that_do_not_fit_together_are_refused"),
    Break("10", "rotation: a label stands once", "runtime/config", "json.loads(text, object_pairs_hook=_unique_keys)", "json.loads(text)", "unit/runtime/test_config.py::test_a_key_that_stands_twice_is_told"),
    Break("10", "rotation: new writes use the active key", CIPHER, "        self._active = self._keys[encoded]\n", "        encoded = next(iter(self._keys))\n        self._head = bytes([len(encoded)]) + encoded\n        self._active = self._keys[encoded]\n", "unit/bbs_store/test_encryption.py::test_new_text_is_made_with_the_active_key"),
    Break("10", "rotation: reads use the label in the data", CIPHER, "key, start = self._keys[label], 1 + len(label)", "key, start = self._active, 1 + len(label)", "unit/bbs_store/test_encryption.py::test_text_of_an_older_key_is_read_and_told_from_the_current"),
    Break("10", "rotation: an unknown label ends the process", SQL, '            raise UnknownKeyLabel(f"the database is encrypted with the unknown key {label!r}")\n', "            return\n", "contract/test_store_sql.py::test_a_database_encrypted_with_an_unknown_key_is_refused"),
    Break("10", "rotation: all columns are rewritten", SQL, "return self._encryption.encrypt(self._encryption.decrypt(text))", 'return None if column == "net_info" else self._encryption.encrypt(self._encryption.decrypt(text))', ROTATED),
    Break("10", "rotation: then the new label is stored", SQL, "connection, schema.ENCRYPTION_KEY_LABEL, self._encryption.active_label\n            )\n        )\n        log.info", 'connection, schema.ENCRYPTION_KEY_LABEL, label or ""\n            )\n        )\n        log.info', ROTATED),
    Break("10", "rotation: an undecodable value is skipped", SQL, '                "store.reencryption-skipped", table=table.name, key=key, column=column, error=str(error)\n            )\n            return None', '                "store.reencryption-skipped", table=table.name, key=key, column=column, error=str(error)\n            )\n            raise', "contract/test_store_sql.py::test_what_cannot_be_read_is_skipped_when_all_is_encrypted_anew"),
)  # fmt: skip

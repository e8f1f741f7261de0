"""What makes a request invalid: section 12."""

from support.rules.one import Break

ACTUAL, DESIRED, TASKS = "bbs/service/actual_lrps", "bbs/service/desired_lrps", "bbs/service/tasks"
REFUSED = "test_requests.py::TestWhatIsRefused::test_"
IGNORED = "test_requests.py::TestWhatIsNotChecked::test_"
FIELDS = "test_validation.py::test_each_field_of_a_desired_lrp"
ORDER = "test_validation.py::test_findings_come_in_the_originals_order"
RUN_INFO = "test_validation.py::test_findings_on_the_run_info_come_in_the_originals_order"
TASK_ORDER = "test_validation.py::test_findings_on_a_task_come_in_the_originals_order"
UPDATE_ORDER = "test_validation.py::test_findings_on_an_update_come_in_the_originals_order"
ACTION = "test_validation.py::test_each_kind_of_action"
CHECKSUM = "test_validation.py::test_a_checksum_needs_a_known_algorithm_and_a_value"
DEPENDENCY = "test_validation.py::test_each_fault_of_a_cached_dependency"
LAYER = "test_validation.py::test_each_kind_of_image_layer"
DIGEST = "test_validation.py::test_a_digest_is_of_a_known_algorithm"
TAG = "test_validation.py::test_a_metric_tag_is_static_or_dynamic"
RULE = "test_validation.py::test_each_kind_of_egress_rule"
DESTINATION = "test_validation.py::test_a_destination_is_an_address_a_network_or_a_range"
MOUNT = "test_validation.py::test_each_fault_of_a_volume_mount"
CHECK = "test_validation.py::test_a_check_is_of_one_kind_and_has_a_port"
MISSING = 'validation.refuse([] if asked.process_guid else [validation.field("process_guid")])'

BREAKS = (
    # what is common to all
    Break("12", "all findings, joined by a comma", "validation", '", ".join(findings)', "findings[0]", "test_validation.py::test_all_findings_are_told_at_once"),
    Break("12", "the usual finding", "validation", 'return f"Invalid field: {name}"', 'return f"invalid field: {name}"', REFUSED + "upsert_of_a_domain"),
    # each request
    Break("12", "UpsertDomain", "bbs/service/registry", '        validation.refuse([] if asked.domain else [validation.field("domain")])\n', "", REFUSED + "upsert_of_a_domain"),
    Break("12", "lists have no checks", DESIRED, "        lrps = self._fitting(asked.domain, asked.process_guids, asked.app_guids)\n", '        validation.refuse([] if asked.domain else [validation.field("domain")])\n        lrps = self._fitting(asked.domain, asked.process_guids, asked.app_guids)\n', IGNORED + "lists_have_nothing_to_check"),
    Break("12", "DesiredLRPByProcessGuid", DESIRED, '            validation.refuse([] if guid else [validation.field("process_guid")])\n', "", REFUSED + "a_desired_lrp_by_its_guid"),
    Break("12", "RemoveDesiredLRP", DESIRED, f"        {MISSING}\n        lrp = self._newest", "        lrp = self._newest", REFUSED + "a_desired_lrp_by_its_guid"),
    Break("12", "TaskByGuid", TASKS, '        validation.refuse([] if asked.task_guid else [validation.field("task_guid")])\n', "", REFUSED + "a_task_by_its_guid"),
    Break("12", "TaskGuid", TASKS, '        if not guid:\n            raise BbsError.invalid_request(validation.field("task_guid"))\n', "        pass\n", REFUSED + "a_task_by_its_guid"),
    Break("12", "ActualLRPsByProcessGuids", ACTUAL, '"process_guids must not be empty"', 'validation.field("process_guids")', REFUSED + "instances_of_no_process"),
    Break("12", "claim", ACTUAL, "validation.refuse(findings + validation.request_instance_key(asked))", "validation.refuse(validation.request_instance_key(asked) + findings)", REFUSED + "claim"),
    Break("12", "claim: its index is not checked", ACTUAL, "validation.refuse(findings + validation.request_instance_key(asked))", 'validation.refuse(findings + validation.request_instance_key(asked) + ([validation.field("index")] if asked.index < 0 else []))', IGNORED + "a_claim_does_not_look_at_the_index"),
    Break("12", "start: key, instance key, net info", ACTUAL, "        validation.refuse(\n            validation.request_lrp_key(asked)\n            + validation.request_instance_key(asked)\n            + validation.request_net_info(asked)\n        )\n", "        validation.refuse(\n            validation.request_net_info(asked)\n            + validation.request_lrp_key(asked)\n            + validation.request_instance_key(asked)\n        )\n", REFUSED + "start_and_evacuate_running"),
    Break("12", "evacuate_running: the same", ACTUAL, "            + validation.request_instance_key(asked)\n            + validation.request_net_info(asked)\n        )\n        guid =", "            + validation.request_instance_key(asked)\n        )\n        guid =", REFUSED + "start_and_evacuate_running"),
    Break("12", "net info: address", "validation", 'return _missing("address", request.actual_lrp_net_info.address)', "return []", REFUSED + "start_and_evacuate_running"),
    Break("12", "crash", ACTUAL, "        validation.refuse(validation.request_lrp_key(asked) + validation.request_instance_key(asked))\n        key = asked", "        validation.refuse(validation.request_lrp_key(asked))\n        key = asked", REFUSED + "crash_and_the_other_ends_of_an_instance"),
    Break("12", "crash: its message is not checked", ACTUAL, "        validation.refuse(validation.request_lrp_key(asked) + validation.request_instance_key(asked))\n        key = asked", '        validation.refuse([] if asked.error_message else [validation.field("error_message")])\n        validation.refuse(validation.request_lrp_key(asked) + validation.request_instance_key(asked))\n        key = asked', IGNORED + "a_crash_needs_no_message"),
    Break("12", "remove_evacuating", ACTUAL, "        validation.refuse(validation.request_lrp_key(asked) + validation.request_instance_key(asked))\n        rows = self._rows_of", "        validation.refuse(validation.request_lrp_key(asked))\n        rows = self._rows_of", REFUSED + "crash_and_the_other_ends_of_an_instance"),
    Break("12", "evacuate_claimed", ACTUAL, "EvacuateClaimedActualLRPRequest) -> Answer:\n        findings = validation.request_lrp_key(asked) + validation.request_instance_key(asked)", "EvacuateClaimedActualLRPRequest) -> Answer:\n        findings = validation.request_lrp_key(asked)", REFUSED + "crash_and_the_other_ends_of_an_instance"),
    Break("12", "evacuate_stopped", ACTUAL, "EvacuateStoppedActualLRPRequest) -> Answer:\n        findings = validation.request_lrp_key(asked) + validation.request_instance_key(asked)", "EvacuateStoppedActualLRPRequest) -> Answer:\n        findings = validation.request_lrp_key(asked)", REFUSED + "crash_and_the_other_ends_of_an_instance"),
    Break("12", "evacuate_crashed: its message too", ACTUAL, '        findings += [] if asked.error_message else [validation.field("error_message")]\n', "", REFUSED + "evacuate_crashed"),
    Break("12", "fail", ACTUAL, 'validation.refuse(findings + ([] if asked.error_message else [validation.field("error_message")]))', "validation.refuse(findings)", REFUSED + "fail"),
    Break("12", "retire", ACTUAL, "        validation.refuse(validation.request_lrp_key(asked))\n        row =", "        row =", REFUSED + "retire"),
    Break("12", "remove", ACTUAL, '        validation.refuse(findings + ([validation.field("index")] if asked.index < 0 else []))\n        rows = self._memory.newest_rows', "        validation.refuse(findings)\n        rows = self._memory.newest_rows", REFUSED + "remove"),
    Break("12", "key: process_guid, index, domain", "validation", '    findings = _missing("process_guid", key.process_guid)\n    if key.index < 0:\n        findings.append(field("index"))\n    return findings + _missing("domain", key.domain)', '    findings = _missing("process_guid", key.process_guid) + _missing("domain", key.domain)\n    if key.index < 0:\n        findings.append(field("index"))\n    return findings', "test_validation.py::test_keys_of_instances"),
    Break("12", "key: absent", "validation", '        return [field("actual_lrp_key")]\n', '        return [field("process_guid"), field("domain")]\n', "test_validation.py::test_keys_of_instances"),
    Break("12", "instance key: cell_id, instance_guid", "validation", 'return _missing("cell_id", key.cell_id) + _missing("instance_guid", key.instance_guid)', 'return _missing("instance_guid", key.instance_guid) + _missing("cell_id", key.cell_id)', "test_validation.py::test_keys_of_instances"),
    Break("12", "DesireTask: guid, domain, definition", "validation", '    findings = guid("task_guid", task_guid) + _missing("domain", domain)\n', '    findings = _missing("domain", domain) + guid("task_guid", task_guid)\n', REFUSED + "desire_of_a_task"),
    Break("12", "DesireTask: definition absent", "validation", '        return [*findings, field("task_definition")]\n', "        return findings\n", REFUSED + "desire_of_a_task"),
    Break("12", "StartTask", TASKS, "    def start(self, asked: task_requests_pb2.StartTaskRequest) -> Answer:\n        self._refuse_invalid(asked.task_guid, cell_id=asked.cell_id)", "    def start(self, asked: task_requests_pb2.StartTaskRequest) -> Answer:\n        self._refuse_invalid(asked.task_guid)", REFUSED + "what_becomes_of_a_task"),
    Break("12", "CompleteTask", TASKS, "    def complete(self, asked: task_requests_pb2.CompleteTaskRequest) -> Answer:\n        self._refuse_invalid(asked.task_guid, cell_id=asked.cell_id)", "    def complete(self, asked: task_requests_pb2.CompleteTaskRequest) -> Answer:\n        self._refuse_invalid(asked.task_guid)", REFUSED + "what_becomes_of_a_task"),
    Break("12", "RejectTask: the finding says failure_reason", TASKS, "failure_reason=asked.rejection_reason)", "rejection_reason=asked.rejection_reason)", REFUSED + "what_becomes_of_a_task"),
    Break("12", "FailTask", TASKS, "self._refuse_invalid(asked.task_guid, failure_reason=asked.failure_reason)", "self._refuse_invalid(asked.task_guid)", REFUSED + "what_becomes_of_a_task"),
    Break("12", "task_guid: the pattern", TASKS, 'findings = validation.guid("task_guid", guid)', 'findings = [] if guid else [validation.field("task_guid")]', REFUSED + "what_becomes_of_a_task"),
    Break("12", "DesireLRP: desired_lrp absent", DESIRED, '            raise BbsError.invalid_request(validation.field("desired_lrp"))\n', "            pass\n", REFUSED + "desire_of_an_lrp"),
    Break("12", "UpdateDesiredLRP: process_guid, instances", "validation", "    findings += _not_negative(instances=change.instances)\n", "", REFUSED + "update_of_an_lrp"),
    Break("12", "UpdateDesiredLRP: annotation", "validation", "    findings += annotation(change.annotation)\n", "", UPDATE_ORDER),
    Break("12", "UpdateDesiredLRP: routes", "validation", "    findings += routes(change.routes)\n", "", UPDATE_ORDER),
    Break("12", "UpdateDesiredLRP: metric_tags, then details", "validation", 'findings += named("metric_tags", metric_tags(wanted_metric_tags(change.metric_tags), ""))', 'findings += metric_tags(wanted_metric_tags(change.metric_tags), "")', UPDATE_ORDER),
    Break("12", "UpdateDesiredLRP: image_password with a username", "validation", '    if change.HasField("image_username") and not change.HasField("image_password"):\n        findings.append(field("image_password"))\n', "", "test_validation.py::test_each_field_of_an_update"),
    Break("12", "UpdateDesiredLRP: image_username with a password", "validation", '    if change.HasField("image_password") and not change.HasField("image_username"):\n        findings.append(field("image_username"))\n', "", "test_validation.py::test_each_field_of_an_update"),
    # a desired LRP
    Break("12", "DesiredLRP: volumeMountedFiles first", "validation", "    findings = list(files)\n", "    findings: Findings = []\n", "test_validation.py::test_routes_and_mounted_files_are_limited_as_a_whole"),
    Break("12", "DesiredLRP: an empty rootfs is named twice", "validation", '    if not lrp.root_fs:\n        findings.append(field("rootfs"))\n', "", FIELDS),
    Break("12", "DesiredLRP: rootfs with a scheme", "urls", "    if scheme is None:\n        return False\n", "    if scheme is None:\n        return True\n", FIELDS),
    Break("12", "DesiredLRP: rootfs a URL", "validation", 'return [] if asked(value) else [field("rootfs")]', 'return [] if ":" in value else [field("rootfs")]', FIELDS),
    Break("12", "DesiredLRP: rootfs a URL as Go has it", "urls", "and HOST.fullmatch(host)", "", "test_urls.py::test_what_go_refuses_is_none"),
    Break("12", "DesiredLRP: instances, memory_mb, disk_mb", "validation", "_not_negative(instances=lrp.instances, memory_mb=lrp.memory_mb, disk_mb=lrp.disk_mb)", "_not_negative(disk_mb=lrp.disk_mb, memory_mb=lrp.memory_mb, instances=lrp.instances)", ORDER),
    Break("12", "DesiredLRP: log_rate_limit_bytes_per_second", "validation", 'log_rate_limit(lrp.log_rate_limit, "log_rate_limit_bytes_per_second")', "[]", FIELDS),
    Break("12", "log rate limit: -1 is none", "validation", "limit.bytes_per_second < -1", "limit.bytes_per_second < 0", FIELDS),
    Break("12", "DesiredLRP: annotation before max_pids", "validation", '    findings += annotation(lrp.annotation)\n    if lrp.max_pids < 0:\n        findings.append(field("max_pids"))\n', '    if lrp.max_pids < 0:\n        findings.append(field("max_pids"))\n    findings += annotation(lrp.annotation)\n', ORDER),
    Break("12", "DesiredLRP: routes", "validation", "    findings += routes(lrp.routes)\n", "", "test_validation.py::test_routes_and_mounted_files_are_limited_as_a_whole"),
    Break("12", "DesiredLRP: metric_tags absent", "validation", '    else:\n        findings.append(field("metric_tags"))\n', "", FIELDS),
    Break("12", "DesiredLRP: a bad tag, metric_tags and details", "validation", 'findings += named("metric_tags", metric_tags(tags, lrp.metrics_guid))', "findings += metric_tags(tags, lrp.metrics_guid)", FIELDS),
    Break("12", "DesiredLRP: domain again", "validation", '    if not lrp.domain:\n        findings.append(field("domain"))\n    findings += guid', "    findings += guid", FIELDS),
    Break("12", "DesiredLRP: process_guid", "validation", '    findings += guid("process_guid", lrp.process_guid)\n', "", FIELDS),
    Break("12", "DesiredLRP: volumeMountedFiles again", "validation", "    findings += files\n", "", "test_validation.py::test_routes_and_mounted_files_are_limited_as_a_whole"),
    Break("12", "DesiredLRP: setup and details", "validation", 'findings += named("setup", action(lrp.setup))', "pass", FIELDS),
    Break("12", "DesiredLRP: invalid action type", "validation", 'NO_ACTION = "invalid action type"', 'NO_ACTION = "Invalid field: action"', "test_validation.py::test_a_desired_lrp_without_action"),
    Break("12", "DesiredLRP: action and details", "validation", 'findings += named("action", action(lrp.action)) if', "findings += action(lrp.action) if", FIELDS),
    Break("12", "DesiredLRP: monitor and details", "validation", 'findings += named("monitor", action(lrp.monitor))', "pass", FIELDS),
    Break("12", "DesiredLRP: environment without a name", "validation", 'BLANK_NAME = "invalid field: name cannot be blank"', 'BLANK_NAME = "Invalid field: name"', FIELDS),
    Break("12", "DesiredLRP: each bad egress rule, with details", "validation", 'findings += named("egress_rules", found)', 'findings.append(field("egress_rules"))', FIELDS),
    Break("12", "DesiredLRP: cached_dependency and details", "validation", "        findings += cached_dependencies(dependencies)\n", "        pass\n", FIELDS),
    Break("12", "DesiredLRP: image_layer and details", "validation", "        findings += image_layers(layers, lrp.legacy_download_user)\n", "        pass\n", FIELDS),
    Break("12", "DesiredLRP: legacy_download_user with an EXCLUSIVE layer", "validation", "    if exclusive and not download_user:\n", "    if not download_user:\n", "test_validation.py::test_an_exclusive_layer_needs_somebody_to_download_it"),
    Break("12", "DesiredLRP: sidecars and details", "validation", 'findings += named("sidecars", sidecar(each))', "findings += sidecar(each)", FIELDS),
    Break("12", "DesiredLRP: volume mounts", "validation", "        findings += volume_mounts(mounts)\n", "        pass\n", FIELDS),
    Break("12", "DesiredLRP: image credentials, both or neither", "validation", '    if password and not username:\n        return [field("image_username")]\n', "", FIELDS),
    Break("12", "DesiredLRP: check_definition and details", "validation", 'findings += named("check_definition", checks(lrp.check_definition))', "findings += checks(lrp.check_definition)", FIELDS),
    Break("12", "DesiredLRP: log_rate_limit last", "validation", '    findings += _run_info(lrp)\n    if limited:\n        findings += log_rate_limit(lrp.log_rate_limit, "log_rate_limit")\n', '    if limited:\n        findings += log_rate_limit(lrp.log_rate_limit, "log_rate_limit")\n    findings += _run_info(lrp)\n', RUN_INFO),
    Break("12", "DesiredLRP: the order of the run info", "validation", "    findings += environment(lrp.environment_variables)\n    for rule", "    findings[:0] = environment(lrp.environment_variables)\n    for rule", RUN_INFO),
    # a task definition
    Break("12", "TaskDefinition: the order", "validation", "    findings += _not_negative(max_pids=definition.max_pids)\n    findings += annotation(definition.annotation)\n", "    findings += annotation(definition.annotation)\n    findings += _not_negative(max_pids=definition.max_pids)\n", TASK_ORDER),
    Break("12", "TaskDefinition: rootfs", "validation", "    findings = root_fs(definition.root_fs)\n", "    findings: Findings = []\n", "test_validation.py::test_each_field_of_a_task"),
    Break("12", "TaskDefinition: action", "validation", 'findings += named("action", action(definition.action)) if', "findings += action(definition.action) if", "test_validation.py::test_each_field_of_a_task"),
    Break("12", "TaskDefinition: memory_mb, disk_mb", "validation", "_not_negative(memory_mb=definition.memory_mb, disk_mb=definition.disk_mb)", "_not_negative(disk_mb=definition.disk_mb)", "test_validation.py::test_each_field_of_a_task"),
    Break("12", "TaskDefinition: log_rate_limit", "validation", '        findings += log_rate_limit(definition.log_rate_limit, "log_rate_limit")\n', "        pass\n", "test_validation.py::test_each_field_of_a_task"),
    Break("12", "TaskDefinition: egress_rules without details", "validation", 'findings += [field("egress_rules") for rule in definition.egress_rules if egress_rule(rule)]', 'findings += [text for rule in definition.egress_rules for text in named("egress_rules", egress_rule(rule))]', "test_validation.py::test_each_field_of_a_task"),
    Break("12", "TaskDefinition: image credentials", "validation", "    findings += image_credentials(definition.image_username, definition.image_password)\n", "", "test_validation.py::test_each_field_of_a_task"),
    Break("12", "TaskDefinition: cached dependencies", "validation", "    findings += cached_dependencies(definition.cached_dependencies)\n", "", "test_validation.py::test_each_field_of_a_task"),
    Break("12", "TaskDefinition: layers", "validation", "return findings + image_layers(definition.image_layers, definition.legacy_download_user)", "return findings", "test_validation.py::test_each_field_of_a_task"),
    # the parts
    Break("12", "action wrapper without member", "validation", '    return [field("inner-action")]\n', "    return []\n", ACTION),
    Break("12", "download: from, to, user", "validation", '        _missing("from", getattr(each, "from"))\n        + _missing("to", each.to)\n        + _missing("user", each.user)\n        + findings\n', '        _missing("to", each.to)\n        + _missing("from", getattr(each, "from"))\n        + _missing("user", each.user)\n        + findings\n', ACTION),
    Break("12", "upload: to, from, user", "validation", 'return _missing("to", each.to) + _missing("from", getattr(each, "from")) + _missing("user", each.user)', 'return _missing("from", getattr(each, "from")) + _missing("to", each.to) + _missing("user", each.user)', ACTION),
    Break("12", "run: path, user", "validation", "    if each.path and each.user:\n", "    if each.path or each.user:\n", ACTION),
    Break("12", "timeout: action absent", "validation", '    findings = action(each.action, depth) if each.HasField("action") else [field("action")]\n', "    findings = action(each.action, depth)\n", ACTION),
    Break("12", "timeout: timeout_ms", "validation", "    if each.timeout_ms <= 0:\n", "    if each.timeout_ms < 0:\n", ACTION),
    Break("12", "try, emit_progress: action absent", "validation", '    return action(each.action, depth) if each.HasField("action") else [field("action")]\n', "    return action(each.action, depth)\n", ACTION),
    Break("12", "parallel, serial, codependent: actions empty", "validation", '    return [field("actions")] if empty else findings\n', "    return findings\n", ACTION),
    Break("12", "parallel, serial, codependent: inner findings", "validation", "        findings += action(inner, depth)\n", "        pass\n", ACTION),
    Break("12", "checksum: value without algorithm", "validation", '    if value and not algorithm:\n        return [field("checksum algorithm")]\n', "", CHECKSUM),
    Break("12", "checksum: algorithm without value", "validation", '    if algorithm and not value:\n        return [field("checksum value")]\n', "", CHECKSUM),
    Break("12", "checksum: known algorithms", "validation", 'CHECKSUMS = frozenset({"md5", "sha1", "sha256"})', 'CHECKSUMS = frozenset({"md5", "sha1", "sha256", "crc"})', CHECKSUM),
    Break("12", "checksum: any case", "validation", "algorithm.lower() not in CHECKSUMS", "algorithm not in CHECKSUMS", CHECKSUM),
    Break("12", "cached dependency: from, to", "validation", '            _missing("from", getattr(each, "from"))\n            + _missing("to", each.to)\n            + _checksum', '            _missing("to", each.to)\n            + _missing("from", getattr(each, "from"))\n            + _checksum', DEPENDENCY),
    Break("12", "cached dependency: checksum", "validation", "            + _checksum(each.checksum_algorithm, each.checksum_value),\n", "", DEPENDENCY),
    Break("12", "layer: url, destination_path", "validation", 'findings = _missing("url", each.url) + _missing("destination_path", each.destination_path)', 'findings = _missing("url", each.url)', LAYER),
    Break("12", "layer: layer_type", "validation", "image_layer_pb2.ImageLayer.Type.values()[1:]", "image_layer_pb2.ImageLayer.Type.values()", LAYER),
    Break("12", "layer: media_type", "validation", "image_layer_pb2.ImageLayer.MediaType.values()[1:]", "image_layer_pb2.ImageLayer.MediaType.values()", LAYER),
    Break("12", "layer: digest_algorithm with a value or EXCLUSIVE", "validation", "if (each.digest_value or exclusive) and not each.digest_algorithm:", "if exclusive and not each.digest_algorithm:", LAYER),
    Break("12", "layer: digest_value with an algorithm or EXCLUSIVE", "validation", "if (each.digest_algorithm or exclusive) and not each.digest_value:", "if exclusive and not each.digest_value:", DIGEST),
    Break("12", "layer: digest_algorithm known", "validation", '    if each.digest_algorithm not in image_layer_pb2.ImageLayer.DigestAlgorithm.values():\n        findings.append(field("digest_algorithm"))\n', "", DIGEST),
    Break("12", "metric tag: static or dynamic, one of them", "validation", "if bool(static) == dynamic or (number and not dynamic):", "if not static and not dynamic:", TAG),
    Break("12", "metric tag: source_id matches metrics_guid", "validation", 'findings.append(field("source_id should match metrics_guid"))', "pass", FIELDS),
    Break("12", "egress tcp, udp: ports or range missing", "validation", '    if not rule.HasField("port_range") and not rule.ports:\n        findings.append("Missing required field: ports or port_range")\n', "", RULE),
    Break("12", "egress tcp, udp: both", "validation", '    if rule.HasField("port_range") and rule.ports:\n        findings.append("Invalid: ports and port_range provided")\n', "", RULE),
    Break("12", "egress tcp, udp: range from 1", "validation", "if start < 1 or end < 1 or start > end:", "if start > end:", RULE),
    Break("12", "egress tcp, udp: range in order", "validation", "if start < 1 or end < 1 or start > end:", "if start < 1 or end < 1:", RULE),
    Break("12", "egress tcp, udp: port 0", "validation", 'return findings + [field("ports") for port in rule.ports if port == 0]', "return findings", RULE),
    Break("12", "egress tcp, udp: icmp_info", "validation", '            if rule.HasField("icmp_info"):\n                findings.append(field("icmp_info"))\n', "", RULE),
    Break("12", "egress icmp, icmpv6: info absent", "validation", 'findings += _missing(f"{rule.protocol}_info", rule.HasField("icmp_info"))', 'findings += _missing("icmp_info", rule.HasField("icmp_info"))', RULE),
    Break("12", "egress icmp, icmpv6: no range, no ports", "validation", '        case "icmp" | "icmpv6":\n            findings = [field("port_range")] if rule.HasField("port_range") else []\n            findings += [field("ports")] if rule.ports else []\n', '        case "icmp" | "icmpv6":\n            findings: Findings = []\n', RULE),
    Break("12", "egress all: nothing of these", "validation", '            findings += [field("icmp_info")] if rule.HasField("icmp_info") else []\n', "", RULE),
    Break("12", "egress: another protocol", "validation", 'findings = [field("protocol")]', "findings = []", RULE),
    Break("12", "destinations: split at commas", "validation", 'for part in text.split(",")]', "for part in [text]]", DESTINATION),
    Break("12", "destinations: an address", "validation", 'return "%" not in text', "return True", DESTINATION),
    Break("12", "destinations: a range", "validation", '        return [] if all(map(_address, ends)) else ["Invalid IP"]\n', "        return []\n", DESTINATION),
    Break("12", "destinations: a network, Go's words", "validation", 'f"invalid CIDR address: {text}"', '"Invalid CIDR"', DESTINATION),
    Break("12", "destinations: at least 1", "validation", '        reasons = ["Must have at least 1 destination"]\n', "        reasons = []\n", RULE),
    Break("12", "destinations: the form of the finding", "validation", "destinations [ {', '.join(reasons)} ]", "destinations [{', '.join(reasons)}]", DESTINATION),
    Break("12", "sidecar: action rules", "validation", '    findings = action(each.action) if each.HasField("action") else [NO_ACTION]\n', "    findings: Findings = []\n", FIELDS),
    Break("12", "sidecar: memory_mb, disk_mb", "validation", "return findings + _not_negative(memory_mb=each.memory_mb, disk_mb=each.disk_mb)", "return findings", FIELDS),
    Break("12", "volume mount: driver", "validation", '        if not each.driver:\n            findings.append("invalid volume_mount driver")\n', "", MOUNT),
    Break("12", "volume mount: mode r or rw", "validation", 'if each.mode not in {"r", "rw"}:', "if not each.mode:", MOUNT),
    Break("12", "volume mount: volume id", "validation", "invalid volume_mount volume id", "invalid volume_mount volume_id", MOUNT),
    Break("12", "volume mount: mounter id", "validation", "invalid volume_mount mounter id", "invalid volume_mount mounter_id", MOUNT),
    Break("12", "check: tcp and http together", "validation", '            findings.append(field("check"))\n            continue\n', "            pass\n", CHECK),
    Break("12", "check: port 0, and neither set", "validation", "if not 0 < port <= PORT_MAX:", "if not 0 <= port <= PORT_MAX:", CHECK),
    Break("12", "check: port of at most 65535", "validation", "if not 0 < port <= PORT_MAX:", "if not 0 < port:", CHECK),
)  # fmt: skip

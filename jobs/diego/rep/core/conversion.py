"""A definition of the BBS becomes a container's run request (contract/rep.md section 7)."""

import json
from collections.abc import Mapping, Sequence

from diego.executor.core.requests import NO_RATE_LIMIT, LogTarget, MetricsTarget, RunRequest
from diego.wire.actions_pb2 import Action, DownloadAction, ParallelAction, SerialAction
from diego.wire.cached_dependency_pb2 import CachedDependency
from diego.wire.desired_lrp_pb2 import DesiredLRP
from diego.wire.environment_variables_pb2 import EnvironmentVariable
from diego.wire.file_pb2 import File
from diego.wire.image_layer_pb2 import ImageLayer
from diego.wire.log_rate_limit_pb2 import LogRateLimit
from diego.wire.metric_tags_pb2 import MetricTagValue
from diego.wire.sidecar_pb2 import Sidecar
from diego.wire.task_pb2 import Task
from diego.wire.volume_mount_pb2 import VolumeMount

PRELOADED = "preloaded:"
PRELOADED_LAYER = "preloaded+layer:"
INTERNAL_ROUTER = "internal-router"


class RootfsUnknown(ValueError):
    """No such preloaded root filesystem is on this cell."""

    def __init__(self) -> None:
        super().__init__("preloaded rootfs path not found")


class CannotConvert(ValueError):
    """The definition says something that cannot be."""


class NotSupported(ValueError):
    """The definition asks for something that this cell does not do yet; the text says what."""


def resolve_rootfs(rootfs: str, stacks: Mapping[str, str]) -> str:
    """What the container engine is asked for.

    Raises:
        RootfsUnknown: a preloaded stack that this cell has not.
    """
    for scheme, prefix in ((PRELOADED, ""), (PRELOADED_LAYER, PRELOADED_LAYER)):
        if rootfs.startswith(scheme):
            stack, question, query = rootfs.removeprefix(scheme).partition("?")
            if stack not in stacks:
                raise RootfsUnknown
            return f"{prefix}{stacks[stack]}{question}{query}" if prefix else stacks[stack]
    return rootfs


def lrp_request(lrp: DesiredLRP, instance_guid: str, index: int, stacks: Mapping[str, str]) -> RunRequest:
    """The run request of one instance.

    Raises:
        RootfsUnknown, CannotConvert, NotSupported: with why it cannot be run here.
    """
    _refuse_unsupported(lrp.volume_mounts, lrp.volume_mounted_files, lrp.sidecars)
    if lrp.HasField("check_definition") and lrp.check_definition.readiness_checks:
        raise NotSupported("readiness checks are not supported by this cell")
    tags = metric_tags(lrp.metric_tags, index=index, instance_guid=instance_guid)
    identity = (
        ("INSTANCE_GUID", instance_guid),
        ("INSTANCE_INDEX", str(index)),
        ("CF_INSTANCE_GUID", instance_guid),
        ("CF_INSTANCE_INDEX", str(index)),
    )
    setup = lrp.setup if lrp.HasField("setup") else None
    return RunRequest(
        guid=instance_guid,
        rootfs=resolve_rootfs(lrp.root_fs, stacks),
        action=lrp.action,
        setup=with_layers(lrp.image_layers, lrp.legacy_download_user, setup),
        monitor=lrp.monitor if lrp.HasField("monitor") else None,
        check_definition=lrp.check_definition if lrp.HasField("check_definition") else None,
        env=(*identity, *_env(lrp.environment_variables)),
        ports=tuple(lrp.ports),
        log=LogTarget(lrp.log_guid, index, lrp.log_source, tags),
        metrics=MetricsTarget(lrp.metrics_guid, index),
        cpu_weight=max(lrp.cpu_weight, 1),
        privileged=lrp.privileged,
        start_timeout_ms=lrp.start_timeout_ms,
        cached_dependencies=(*layer_dependencies(lrp.image_layers), *lrp.cached_dependencies),
        egress_rules=tuple(lrp.egress_rules),
        network_properties=dict(lrp.network.properties),
        trusted_certificates_path=lrp.trusted_system_certificates_path,
        image_username=lrp.image_username,
        image_password=lrp.image_password,
        internal_routes=internal_routes(lrp.routes.routes),
        log_bytes_per_second=_log_limit(lrp.log_rate_limit, given=lrp.HasField("log_rate_limit")),
    )


def task_request(task: Task, stacks: Mapping[str, str]) -> RunRequest:
    """The run request of a task.

    Raises:
        RootfsUnknown, CannotConvert, NotSupported: with why it cannot be run here.
    """
    definition = task.task_definition
    _refuse_unsupported(definition.volume_mounts, definition.volume_mounted_files, ())
    tags = metric_tags(definition.metric_tags, index=None, instance_guid=None)
    limit = _log_limit(definition.log_rate_limit, given=definition.HasField("log_rate_limit"))
    return RunRequest(
        guid=task.task_guid,
        rootfs=resolve_rootfs(definition.root_fs, stacks),
        action=definition.action,
        setup=with_layers(definition.image_layers, definition.legacy_download_user, None),
        env=_env(definition.environment_variables),
        log=LogTarget(definition.log_guid, 0, definition.log_source, tags),
        metrics=MetricsTarget(definition.metrics_guid, 0),
        cpu_weight=definition.cpu_weight,
        privileged=definition.privileged,
        cached_dependencies=(
            *layer_dependencies(definition.image_layers),
            *definition.cached_dependencies,
        ),
        egress_rules=tuple(definition.egress_rules),
        network_properties=dict(definition.network.properties),
        trusted_certificates_path=definition.trusted_system_certificates_path,
        image_username=definition.image_username,
        image_password=definition.image_password,
        log_bytes_per_second=limit,
        result_file=definition.result_file,
    )


def metric_tags(
    tags: Mapping[str, MetricTagValue], *, index: int | None, instance_guid: str | None
) -> dict[str, str]:
    """The values of metric tags; dynamic ones come from the instance.

    Raises:
        CannotConvert: a dynamic tag where there is no instance, as in a task.
    """
    found = {}
    for name, tag in tags.items():
        if tag.static:
            found[name] = tag.static
        elif tag.dynamic == MetricTagValue.INDEX and index is not None:
            found[name] = str(index)
        elif tag.dynamic == MetricTagValue.INSTANCE_GUID and instance_guid is not None:
            found[name] = instance_guid
        elif tag.dynamic:
            raise CannotConvert(f"metric tag {name}: no value for its dynamic source here")
        else:
            found[name] = ""
    return found


def layer_dependencies(layers: Sequence[ImageLayer]) -> tuple[CachedDependency, ...]:
    """Shared layers, as cached dependencies."""
    return tuple(
        CachedDependency(
            name=layer.name,
            to=layer.destination_path,
            cache_key=_layer_key(layer) or layer.url,
            checksum_algorithm=_algorithm(layer),
            checksum_value=layer.digest_value,
            **{"from": layer.url},
        )
        for layer in layers
        if layer.layer_type == ImageLayer.SHARED
    )


def with_layers(layers: Sequence[ImageLayer], user: str, setup: Action | None) -> Action | None:
    """The setup action, after the downloads of exclusive layers, which run side by side."""
    downloads = [
        Action(
            download_action=DownloadAction(
                artifact=layer.name,
                to=layer.destination_path,
                cache_key=_layer_key(layer),
                user=user,
                checksum_algorithm=_algorithm(layer),
                checksum_value=layer.digest_value,
                **{"from": layer.url},
            )
        )
        for layer in layers
        if layer.layer_type == ImageLayer.EXCLUSIVE
    ]
    if not downloads:
        return setup
    parallel = Action(parallel_action=ParallelAction(actions=downloads))
    if setup is None:
        return parallel
    return Action(serial_action=SerialAction(actions=[parallel, setup]))


def internal_routes(routes: Mapping[str, bytes]) -> tuple[str, ...]:
    """Hostnames of the internal router's entry; an entry that cannot be read routes nothing."""
    try:
        entries = json.loads(routes.get(INTERNAL_ROUTER, b"[]") or b"[]")
        return tuple(str(entry["hostname"]) for entry in entries or ())
    except (ValueError, KeyError, TypeError):
        return ()


def _layer_key(layer: ImageLayer) -> str:
    return f"{_algorithm(layer)}:{layer.digest_value}" if layer.digest_value else ""


def _algorithm(layer: ImageLayer) -> str:
    if layer.digest_algorithm == ImageLayer.DigestAlgorithmInvalid:
        return ""
    return ImageLayer.DigestAlgorithm.Name(layer.digest_algorithm).lower()


def _env(variables: Sequence[EnvironmentVariable]) -> tuple[tuple[str, str], ...]:
    return tuple((variable.name, variable.value) for variable in variables)


def _log_limit(limit: LogRateLimit, *, given: bool) -> int:
    return limit.bytes_per_second if given else NO_RATE_LIMIT


def _refuse_unsupported(
    mounts: Sequence[VolumeMount], files: Sequence[File], sidecars: Sequence[Sidecar]
) -> None:
    if mounts:
        raise NotSupported(f"Plugin '{mounts[0].driver}' not found in list of known plugins")
    if files:
        raise NotSupported("volume mounted files are not supported by this cell")
    if sidecars:
        raise NotSupported("sidecars are not supported by this cell")

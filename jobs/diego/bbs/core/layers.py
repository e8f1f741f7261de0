"""The older form of definitions with image layers (contract/bbs-api.md section 3, layer downgrade, r2 routes).

A SHARED layer becomes a cached dependency; the EXCLUSIVE ones become downloads, made in parallel before
everything else. Clients of r2 then need not know what a layer is.
"""

from collections.abc import Iterable

from diego.wire import actions_pb2, cached_dependency_pb2, desired_lrp_pb2, image_layer_pb2, task_pb2

SHARED, EXCLUSIVE = image_layer_pb2.ImageLayer.SHARED, image_layer_pb2.ImageLayer.EXCLUSIVE


def downgrade_desired_lrp(lrp: desired_lrp_pb2.DesiredLRP) -> None:
    """Put the layers of the message into its cached dependencies and its setup action."""
    layers = list(lrp.image_layers)
    if not layers:
        return
    _prepend(lrp, layers)
    downloads = _downloads(layers, lrp.legacy_download_user)
    if downloads is not None:
        before = actions_pb2.Action()
        before.CopyFrom(lrp.setup)
        actions = [downloads, before] if lrp.HasField("setup") else [downloads]
        lrp.setup.CopyFrom(
            actions_pb2.Action(serial_action=actions_pb2.SerialAction(actions=actions))
            if lrp.HasField("setup")
            else downloads
        )
    lrp.ClearField("image_layers")


def downgrade_task(definition: task_pb2.TaskDefinition) -> None:
    """Put the layers of the definition into its cached dependencies and before its action."""
    layers = list(definition.image_layers)
    if not layers:
        return
    _prepend(definition, layers)
    downloads = _downloads(layers, definition.legacy_download_user)
    if downloads is not None:
        before = actions_pb2.Action()
        before.CopyFrom(definition.action)
        definition.action.CopyFrom(
            actions_pb2.Action(serial_action=actions_pb2.SerialAction(actions=[downloads, before]))
        )
    definition.ClearField("image_layers")


def _prepend(
    message: desired_lrp_pb2.DesiredLRP | task_pb2.TaskDefinition,
    layers: Iterable[image_layer_pb2.ImageLayer],
) -> None:
    stored = list(message.cached_dependencies)
    shared = [_dependency(layer) for layer in layers if layer.layer_type == SHARED]
    if shared:
        del message.cached_dependencies[:]
        message.cached_dependencies.extend([*shared, *stored])


def _dependency(layer: image_layer_pb2.ImageLayer) -> cached_dependency_pb2.CachedDependency:
    dependency = cached_dependency_pb2.CachedDependency(
        name=layer.name,
        to=layer.destination_path,
        cache_key=_cache_key(layer),
        checksum_algorithm=_algorithm(layer),
        checksum_value=layer.digest_value,
    )
    setattr(dependency, "from", layer.url)
    return dependency


def _downloads(layers: Iterable[image_layer_pb2.ImageLayer], user: str) -> actions_pb2.Action | None:
    actions = []
    for layer in layers:
        if layer.layer_type != EXCLUSIVE:
            continue
        download = actions_pb2.DownloadAction(
            artifact=layer.name,
            to=layer.destination_path,
            cache_key=_cache_key(layer),
            user=user,
            checksum_algorithm=_algorithm(layer),
            checksum_value=layer.digest_value,
        )
        setattr(download, "from", layer.url)
        actions.append(actions_pb2.Action(download_action=download))
    if not actions:
        return None
    return actions_pb2.Action(parallel_action=actions_pb2.ParallelAction(actions=actions))


def _algorithm(layer: image_layer_pb2.ImageLayer) -> str:
    if not layer.digest_algorithm:
        return ""
    return image_layer_pb2.ImageLayer.DigestAlgorithm.Name(layer.digest_algorithm).lower()


def _cache_key(layer: image_layer_pb2.ImageLayer) -> str:
    return f"{_algorithm(layer)}:{layer.digest_value}" if layer.digest_value else layer.url

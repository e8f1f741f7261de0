"""The environment's layers (contract/garden.md section 5.1)."""

from diego.garden.core.environment import merged, of_process


def test_the_last_value_of_a_name_counts() -> None:
    assert merged(["A=1", "B=2"], ["B=3", "C=x=y"], ["A=4"]) == ["A=4", "B=3", "C=x=y"]


def test_image_container_process_and_then_the_defaults() -> None:
    env = of_process(
        image=["I=1"], container=["C=1"], process=["P=1"], user="vcap", uid=2000, home="/home/vcap"
    )

    assert env == ["I=1", "C=1", "P=1", "PATH=/usr/local/bin:/usr/bin:/bin", "USER=vcap", "HOME=/home/vcap"]


def test_root_has_the_longer_path_and_a_number_is_repeated_as_given() -> None:
    assert of_process(image=[], container=[], process=[], user="", uid=0, home="/root") == [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "USER=root",
        "HOME=/root",
    ]
    assert "USER=1000:1000" in of_process(
        image=[], container=[], process=[], user="1000:1000", uid=1000, home="/"
    )


def test_any_layer_may_set_what_has_a_default() -> None:
    env = of_process(image=["PATH=/i"], container=["USER=c"], process=["HOME=/p"], user="x", uid=1, home="/h")

    assert env == ["PATH=/i", "USER=c", "HOME=/p"]

"""Counters in the API's words (contract/garden.md section 6)."""

from diego.garden.core.metrics import Usage, document, flat_keyed, usage_toward_limit


def test_flat_keyed_files_are_read() -> None:
    assert flat_keyed("cache 8192\nrss 5\n\nodd\nnot number\n") == {"cache": 8192, "rss": 5}


def test_reclaimable_memory_does_not_count() -> None:
    v1 = {"total_rss": 10, "total_cache": 20, "total_swap": 3, "total_inactive_file": 15, "rss": 999}
    v2 = {"anon": 10, "file": 20, "swapcached": 1, "inactive_file": 15}

    assert usage_toward_limit(v1, unified=False) == 18
    assert usage_toward_limit(v2, unified=True) == 16
    assert usage_toward_limit({"inactive_file": 5}, unified=True) == 0


def test_a_container_is_described_whole() -> None:
    usage = Usage({"total_rss": 7}, cpu=3, cpu_user=2, cpu_system=1, pids=4, oom_kills=0)

    found = document(
        usage,
        unified=False,
        image_bytes=100,
        own_bytes=20,
        own_inodes=5,
        pid_limit=9,
        age_ns=1000,
        entitlement_ns=50,
        network=(1, 2),
    )

    assert found == {
        "MemoryStat": {"total_rss": 7, "TotalUsageTowardLimit": 7},
        "CPUStat": {"Usage": 3, "User": 2, "System": 1},
        "DiskStat": {
            "TotalBytesUsed": 120,
            "TotalInodesUsed": 5,
            "ExclusiveBytesUsed": 20,
            "ExclusiveInodesUsed": 5,
        },
        "NetworkStat": {"RxBytes": 1, "TxBytes": 2},
        "PidStat": {"Current": 4, "Max": 9},
        "Age": 1000,
        "CPUEntitlement": 50,
    }

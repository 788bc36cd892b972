from pathlib import Path

import pytest

from scenarios import needs, probes
from scenarios.needs import Feature, Program


def test_a_missing_feature_is_named_with_what_it_blocks_and_what_to_do() -> None:
    feature = Feature("teleporter", "nobody can be beamed", lambda: "no such device")
    assert feature.missing() == (
        "this kernel lacks teleporter (no such device), and without it nobody can be beamed: "
        "use the Vagrant machine (vagrant up)"
    )
    assert Feature("teleporter", "nobody can be beamed", lambda: None).missing() is None


def test_a_missing_program_is_named_with_its_package() -> None:
    assert Program("sh").missing() is None
    assert Program("no-such-program", "its-package").missing() == (
        "the program no-such-program is missing: install the package its-package, or run vagrant/provision.sh"
    )


def test_versions_are_the_first_line_of_programs_that_are_there() -> None:
    shell = Program("sh", version_arguments=("-c", "echo; echo one >&2; echo two >&2"))
    feature = Feature("teleporter", "nobody can be beamed", lambda: None)
    assert needs.versions([shell, feature, Program("no-such-program")]) == {"sh": "one"}


def test_a_program_that_tells_no_version_is_told_apart() -> None:
    assert Program("sh", version_arguments=("-c", ":")).version() == "unknown (it says nothing)"


def test_every_feature_has_a_name_and_a_clause() -> None:
    assert len({feature.name for feature in needs.FEATURES}) == len(needs.FEATURES)
    assert all(feature.blocks for feature in needs.FEATURES)


def test_mounts_of_cgroup_v2_are_found() -> None:
    text = (
        "24 1 0:22 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755\n"
        "25 24 0:23 / /sys/fs/cgroup/pids rw shared:2 - cgroup cgroup rw,pids\n"
        "26 24 0:24 / /sys/fs/my\\040cgroup rw,relatime shared:3 master:4 - cgroup2 cgroup2 rw\n"
    )
    assert probes.cgroup2_mounts(text) == [Path("/sys/fs/my cgroup")]
    assert probes.cgroup2_mounts("") == []


def test_a_command_that_fails_is_quoted() -> None:
    assert probes.tried("true") is None
    assert probes.tried("false") == "false ended with status 1"
    assert probes.tried("sh", "-c", "echo first >&2; echo last >&2; exit 3") == "last"
    assert probes.tried("no-such-program") == "the program no-such-program is missing"


def test_an_impossible_program_type_is_refused_by_the_kernel() -> None:
    assert probes.load_program(9999) is not None


@pytest.mark.kernel
@pytest.mark.parametrize("feature", needs.FEATURES, ids=lambda feature: feature.name)
def test_features_are_found_where_kernel_tests_run(feature: Feature) -> None:
    assert feature.missing() is None

"""What deploy/docker needs of a container engine, without one: the seccomp profile, what the server says where
io_uring is forbidden, and that the Dockerfile fits the sources."""

import ctypes
import errno
import json
import re
import shlex
import struct
import subprocess
import sys

import pytest
from conftest import BINARY, ROOT, SOON

DOCKER = ROOT / "deploy/docker"
#: The same numbers on every architecture.
IO_URING = {"io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427}
#: In the shape of Docker's default.
DEFAULT = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 1,
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
    "syscalls": [
        {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
    ],
}


def profile(text, *arguments):
    return subprocess.run([sys.executable, DOCKER / "seccomp", *arguments], input=text, capture_output=True, text=True)


def test_the_profile_is_the_default_and_the_calls_of_io_uring(tmp_path):
    text = json.dumps(DEFAULT)
    made = profile(text)
    assert made.returncode == 0, made.stderr
    rules = json.loads(made.stdout)
    added = rules["syscalls"].pop()
    assert rules == DEFAULT, "nothing else is allowed or forbidden"
    assert sorted(added.pop("names")) == sorted(IO_URING)
    assert added == {"action": "SCMP_ACT_ALLOW"}
    (tmp_path / "default.json").write_text(text)
    assert profile(None, tmp_path / "default.json").stdout == made.stdout


@pytest.mark.parametrize("text", ["", "404: Not Found", "[]", "{}", json.dumps(DEFAULT | {"syscalls": None})])
def test_what_is_no_default_profile_makes_none(text):
    made = profile(text)
    assert (made.returncode, made.stdout) == (1, "")
    assert "this is not a profile that lists what is allowed" in made.stderr


def forbids_io_uring(number):
    """Has this process, and what it becomes, get this errno for the calls of io_uring, as a container's filter does."""

    def instruction(code, yes, no, value):
        return struct.pack("=HBBI", code, yes, no, value)

    load, equal, answer = 0x20, 0x15, 0x06
    calls = sorted(IO_URING.values())
    # The number of the call; each that is equal jumps to the last instruction.
    program = instruction(load, 0, 0, 0)
    program += b"".join(instruction(equal, len(calls) - at, 0, call) for at, call in enumerate(calls))
    program += instruction(answer, 0, 0, 0x7FFF0000) + instruction(answer, 0, 0, 0x00050000 | number)
    filters = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer := ctypes.create_string_buffer(program)))
    libc = ctypes.CDLL(None, use_errno=True)

    def forbid():
        assert buffer is not None
        no_new_privileges, seccomp, by_filter = 38, 22, 2
        if libc.prctl(no_new_privileges, 1, 0, 0, 0) or libc.prctl(seccomp, by_filter, filters, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")

    return forbid


# Docker's default says EPERM; others' say ENOSYS.
@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_a_server_that_may_not_use_io_uring_says_what_to_do(number):
    forbid = forbids_io_uring(number)

    def run(*arguments):
        command = [BINARY, *arguments]
        return subprocess.run(command, preexec_fn=forbid, capture_output=True, text=True, timeout=SOON)

    served = run("serve", "--listen", "127.0.0.1:0", "--admin-listen", "")
    assert served.returncode == 1, served.stderr
    assert "the server cannot start" in served.stderr
    for part in ["io_uring_setup", "seccomp profile", "io_uring_enter", "io_uring_register", "deploy/docker/seccomp"]:
        assert part in served.stderr, part
    doctor = run("doctor")
    assert doctor.returncode == 1
    assert re.search(r"^seccomp +filter +.*WARN|^seccomp.*filter", doctor.stdout, re.M), doctor.stdout


def test_the_dockerfile_fits_the_sources():
    text = (DOCKER / "Dockerfile").read_text().replace("\\\n", " ")
    (image,) = re.findall(r"^FROM rust:([\d.]+)", text, re.M)
    (version,) = re.findall(r'^rust-version = "([\d.]+)"$', (ROOT / "Cargo.toml").read_text(), re.M)
    assert version.startswith(image)
    for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.M):
        *sources, _ = shlex.split(line)
        for source in sources:
            assert (ROOT / source).exists(), source
    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", text, re.M)
    assert json.loads(entry) == ["campanile"]
    (check,) = re.findall(r"HEALTHCHECK .*?CMD (\[.*\])$", text, re.M)
    program, command, url = json.loads(check)
    assert (program, command) == ("campanile", "health")
    options = subprocess.run([BINARY, "default-config"], capture_output=True, text=True).stdout
    (admin,) = re.findall(r'^#? ?admin_listen = \["(.*)"\]$', options, re.M)
    assert url == f"http://{admin}/healthz", "where the admin listener is unless somebody says otherwise"

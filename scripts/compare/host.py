"""What is to be known of the machine and the tree, for the head of a report."""

import datetime
import os
import platform
import resource
import shutil
import subprocess
from pathlib import Path

from servers import ROOT


def first_line(*command: str) -> str:
    if not shutil.which(command[0]):
        return "none"
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return (done.stdout.splitlines() or ["unknown"])[0]


def read(path: str, otherwise: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return otherwise


def fields(path: str) -> dict[str, str]:
    pairs = (line.split(":", 1) for line in read(path, "").splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in reversed(list(pairs))}


def facts() -> dict[str, str]:
    cpu = fields("/proc/cpuinfo")
    memory = int(fields("/proc/meminfo")["MemTotal"].split()[0]) / (1 << 20)
    threads = cpu.get("siblings", "?"), cpu.get("cpu cores", "?")
    smt = "without SMT" if threads[0] == threads[1] else f"{threads[0]} threads on {threads[1]} cores"
    virtual = ", virtual machine" if "hypervisor" in cpu.get("flags", "") else ""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    dirty = first_line("git", "status", "--porcelain", "--untracked-files=no") not in ("", "unknown")
    commit = first_line("git", "rev-parse", "HEAD")
    congestion = read("/proc/sys/net/ipv4/tcp_congestion_control", "unknown")
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{cpu.get('model name', 'unknown')} (family {cpu.get('cpu family', '?')}, "
        f"model {cpu.get('model', '?')}), {os.cpu_count()} CPUs, {smt}{virtual}",
        "memory": f"{memory:.1f} GiB",
        "kernel": f"{platform.release()}, congestion control {congestion}",
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "none"),
        "network": "loopback",
        "limits": f"RLIMIT_NOFILE {soft} soft, {hard} hard",
        "compilers": f"{first_line('rustc', '--version')}; {first_line('g++', '--version')}",
        "commit": f"{commit}, {'not clean' if dirty else 'clean'}",
    }

//! Runs this program under callgrind and reads what it wrote.

use std::process::{self, Command};
use std::{env, fs};

/// Goes a path in a process of its own: the instructions that are executed inside of `function`.
///
/// Panics if valgrind fails, or finds no such function.
pub(crate) fn count(path: &str, function: &str) -> u64 {
    let program = env::current_exe().expect("this program has a name");
    let out = env::temp_dir().join(format!("campanile-callgrind-{}", process::id()));
    let output = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(format!("--toggle-collect=*{function}*"))
        .arg(program)
        .args(["--path", path])
        .output()
        .expect("valgrind can be run");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{path}: {told}");
    let profile = fs::read_to_string(&out).expect("valgrind writes its profile");
    fs::remove_file(&out).expect("the profile is ours");
    let total = profile
        .lines()
        .find_map(|line| line.strip_prefix("totals: "));
    let total = total.and_then(|total| total.trim().parse().ok());
    let total = total.expect("a profile ends with its totals");
    assert!(total > 0, "valgrind has not found {function}");
    total
}

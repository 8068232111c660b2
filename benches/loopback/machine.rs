//! What `/proc` tells of the machine, and the settings that many connections need.

use std::fs;
use std::io;

use serde::Serialize;

/// A field of `/proc/meminfo`, kibibytes.
fn kibibytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(field))?;
    line[field.len()..].split_whitespace().next()?.parse().ok()
}

/// The machine, as a results header names it.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    kernel: String,
    processor: String,
    cores: usize,
    memory_gib: f64,
    governor: String,
    load_1m: String,
    network: &'static str,
}

impl Machine {
    pub(crate) fn read() -> io::Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let processor = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name"))
            .map(|name| name.trim_start_matches([' ', '\t', ':']).to_owned());
        let memory = kibibytes(&fs::read_to_string("/proc/meminfo")?, "MemTotal:").unwrap_or(0);
        let governor = fs::read_to_string("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
        let load = fs::read_to_string("/proc/loadavg")?;
        Ok(Self {
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
            processor: processor.unwrap_or_default(),
            cores: cpuinfo.matches("processor\t").count(),
            memory_gib: (memory as f64 / f64::from(1 << 20) * 10.0).round() / 10.0,
            governor: governor.map_or_else(|_| "none".to_owned(), |text| text.trim().to_owned()),
            load_1m: load.split(' ').next().unwrap_or_default().to_owned(),
            network: "loopback",
        })
    }
}

/// A kernel setting under `/proc/sys`, and the least that very many connections need of each number.
struct Setting {
    name: &'static str,
    wanted: &'static [u64],
    /// Whether the first number is a lower end, which must not be above what is wanted.
    range: bool,
}

const SETTINGS: [Setting; 5] = [
    Setting {
        name: "fs.file-max",
        wanted: &[4_000_000],
        range: false,
    },
    Setting {
        name: "net.ipv4.tcp_mem",
        wanted: &[2_000_000, 4_000_000, 5_500_000],
        range: false,
    },
    Setting {
        name: "net.core.somaxconn",
        wanted: &[65_535],
        range: false,
    },
    Setting {
        name: "net.ipv4.tcp_max_syn_backlog",
        wanted: &[65_535],
        range: false,
    },
    Setting {
        name: "net.ipv4.ip_local_port_range",
        wanted: &[1024, 65_535],
        range: true,
    },
];

impl Setting {
    fn path(&self) -> String {
        format!("/proc/sys/{}", self.name.replace('.', "/"))
    }

    fn suffices(&self) -> bool {
        let text = fs::read_to_string(self.path()).unwrap_or_default();
        let has: Vec<u64> = text
            .split_whitespace()
            .filter_map(|n| n.parse().ok())
            .collect();
        let enough = |(index, (has, wanted)): (usize, (&u64, &u64))| match self.range && index == 0
        {
            true => has <= wanted,
            false => has >= wanted,
        };
        has.len() == self.wanted.len() && has.iter().zip(self.wanted).enumerate().all(enough)
    }

    fn command(&self) -> String {
        let wanted: Vec<String> = self.wanted.iter().map(u64::to_string).collect();
        format!("sysctl -w {}=\"{}\"", self.name, wanted.join(" "))
    }
}

/// The commands for those kernel settings that are lower than a million connections want them; with
/// `set`, those that may be set are, until the machine restarts.
pub(crate) fn settings_wanted(set: bool) -> Vec<String> {
    SETTINGS
        .iter()
        .filter(|setting| {
            if set && !setting.suffices() {
                let wanted: Vec<String> = setting.wanted.iter().map(u64::to_string).collect();
                // Whether it worked is seen by looking.
                let _refused = fs::write(setting.path(), wanted.join(" "));
            }
            !setting.suffices()
        })
        .map(Setting::command)
        .collect()
}

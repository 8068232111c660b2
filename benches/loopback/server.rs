//! An example server as a child process on a core of its own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use core_affinity::CoreId;

/// How long a server may take to listen, and how often it is tried.
const START: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(10);

/// The core of the server, and the core of the load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores(Option<(CoreId, CoreId)>);

impl Cores {
    /// The first core and the second; on a machine with one core nobody is pinned. To be asked for
    /// once, before anybody is pinned.
    pub(crate) fn choose() -> Self {
        match core_affinity::get_core_ids().as_deref() {
            Some(&[server, load, ..]) => Self(Some((server, load))),
            _ => Self(None),
        }
    }

    /// Their numbers.
    pub(crate) fn numbers(self) -> Option<(usize, usize)> {
        self.0.map(|(server, load)| (server.id, load.id))
    }
}

/// Builds the examples, so that no stale one is measured, and tells in which directory they are.
pub(crate) fn build_examples() -> io::Result<PathBuf> {
    // .../target/<profile>/deps/loopback-<hash>
    let executable = std::env::current_exe()?;
    let profile_directory = executable
        .ancestors()
        .nth(2)
        .ok_or(io::ErrorKind::NotFound)?;
    let target_directory = profile_directory.parent().ok_or(io::ErrorKind::NotFound)?;
    let profile = match profile_directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(profile) => profile,
        None => return Err(io::ErrorKind::NotFound.into()),
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--profile", profile])
        .args(["--example", "echo", "--example", "broadcast"])
        .arg("--target-dir")
        .arg(target_directory)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()?;
    if !status.success() {
        return Err(io::Error::other("the example servers do not build"));
    }
    Ok(profile_directory.join("examples"))
}

/// A running server. Ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts `program` on its core and waits until it listens.
    pub(crate) fn start(program: &PathBuf, shards: usize, cores: Cores) -> io::Result<Self> {
        // Free when it is asked for; nobody else on loopback is in such a hurry.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        // A child inherits the cores of the thread that starts it.
        if let Some((core, _)) = cores.0 {
            core_affinity::set_for_current(core);
        }
        let child = Command::new(program)
            .args(["--listen", &address.to_string()])
            .args(["--shards", &shards.to_string()])
            .stdout(Stdio::null())
            .spawn();
        if let Some((_, core)) = cores.0 {
            core_affinity::set_for_current(core);
        }
        let server = Self {
            child: child?,
            address,
        };
        server.wait()?;
        Ok(server)
    }

    /// Waits until it listens.
    #[expect(
        clippy::disallowed_methods,
        reason = "nothing but trying tells when another program listens"
    )]
    fn wait(&self) -> io::Result<()> {
        let began = Instant::now();
        loop {
            match TcpStream::connect(self.address) {
                Ok(_) => return Ok(()),
                Err(error) if began.elapsed() > START => return Err(error),
                Err(_) => std::thread::sleep(RETRY),
            }
        }
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Whoever has ended already needs no killing.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

//! The assembly: a builder, one worker per core, the service thread, and a handle for everybody else.
//!
//! ```no_run
//! use campanile::{App, Message, Server, Socket};
//!
//! struct Echo;
//!
//! impl App for Echo {
//!     type Data = ();
//!     type Mail = ();
//!     fn message(&mut self, socket: &mut Socket<'_, Self>, message: Message<'_>) {
//!         let _ = socket.send(message);
//!     }
//! }
//!
//! Server::new(|_shard| Echo).listen("127.0.0.1:9001").run()?;
//! # Ok::<(), campanile::StartError>(())
//! ```

mod error;
mod handle;
mod listen;
mod memory;
mod transport;
mod worker;

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use tokio::sync::mpsc;

pub use error::StartError;
pub use handle::{Answered, Busy, ServerHandle, ShardStats, Stats};
pub use listen::Listen;
pub use memory::{MemoryOptions, MemoryReading, MemoryUse};

use crate::id::ShardId;
use crate::limits::{CONNECTIONS_PER_SHARD_MAX, SHARDS_MAX};
use crate::mesh::mesh;
use crate::metrics::Counters;
use crate::ring::{self, PreparedRing, Ring, RingConfig};
use crate::service::{Admin, Service, ServiceMail, listen_admin};
use crate::shard::{App, Mail, Options, Shared};
use crate::time::Clock;
use handle::Reach;
use listen::{Bound, bind, tell_kernel_tls};
use worker::Worker;

/// Requests that may wait for the service thread, from all shards together.
const SERVICE_QUEUE: usize = 4096;
/// Mails per ordered pair of shards; fewer where there are very many pairs.
const MESH_CAPACITY: usize = 1024;
const MESH_CAPACITY_MANY: usize = 128;

type RouterFactory<A> = Box<dyn FnOnce(ServerHandle<A>) -> Router + Send>;

/// A server to be: set it up, then [`run`](Server::run) or [`start`](Server::start) it.
pub struct Server<A: App, F> {
    factory: F,
    options: Options,
    listen: Vec<(String, Listen)>,
    shards: usize,
    sockets_per_shard_max: usize,
    drain: Duration,
    memory: MemoryOptions,
    router: RouterFactory<A>,
    admin_listen: Vec<SocketAddr>,
    admin_router: RouterFactory<A>,
}

impl<A: App, F> fmt::Debug for Server<A, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}

impl<A, F> Server<A, F>
where
    A: App,
    F: Fn(ShardId) -> A + Send + Sync + 'static,
{
    /// A server whose shards each run the application that `factory` makes for them, on the shard's
    /// own thread: the application need not be `Send`.
    pub fn new(factory: F) -> Self {
        Self {
            factory,
            options: Options::default(),
            listen: Vec::new(),
            shards: 0,
            sockets_per_shard_max: 0,
            drain: Duration::from_secs(30),
            memory: MemoryOptions::default(),
            router: Box::new(|_| Router::new()),
            admin_listen: Vec::new(),
            admin_router: Box::new(|_| Router::new()),
        }
    }

    /// Listens on an address (`host:port`), besides those given before. Port 0: any free port, see
    /// [`Running::addresses`].
    #[must_use]
    pub fn listen(self, address: impl ToString) -> Self {
        self.listen_with(address, Listen::default())
    }

    /// Like [`listen`](Server::listen), with TLS, or the PROXY protocol, or both.
    #[must_use]
    pub fn listen_with(mut self, address: impl ToString, listen: Listen) -> Self {
        self.listen.push((address.to_string(), listen));
        self
    }

    /// Runs on `shards` threads, at most [`SHARDS_MAX`]. 0, the default: one for each core that the
    /// process may use.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// Sets all options of the core.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Most sockets of one shard, handshakes included. 0, the default: as many as the soft
    /// `RLIMIT_NOFILE`, which bounds a ring's table of descriptors.
    #[must_use]
    pub fn sockets_per_shard_max(mut self, sockets: usize) -> Self {
        self.sockets_per_shard_max = sockets;
        self
    }

    /// Longest time that a shutdown may take; what is left then is cut.
    #[must_use]
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Sets what the server does as the process runs short of memory.
    #[must_use]
    pub fn memory(mut self, memory: MemoryOptions) -> Self {
        self.memory = memory;
        self
    }

    /// Answers plain HTTP requests on the same port, on the service thread.
    #[must_use]
    pub fn router(self, router: Router) -> Self {
        self.router_with(|_| router)
    }

    /// Like [`router`](Server::router), for handlers that publish, send or ask for statistics.
    #[must_use]
    pub fn router_with(
        mut self,
        router: impl FnOnce(ServerHandle<A>) -> Router + Send + 'static,
    ) -> Self {
        self.router = Box::new(router);
        self
    }

    /// Answers plain HTTP requests on addresses of their own, too, on the service thread: metrics,
    /// health, what is not for clients. At most 256 connections at once. Port 0: any free port, see
    /// [`Running::admin_addresses`]. A second call replaces the first.
    #[must_use]
    pub fn admin(
        mut self,
        addresses: &[SocketAddr],
        router: impl FnOnce(ServerHandle<A>) -> Router + Send + 'static,
    ) -> Self {
        self.admin_listen = addresses.to_vec();
        self.admin_router = Box::new(router);
        self
    }

    /// Starts, and returns when SIGTERM or Ctrl-C has ended the server and all clients were taken
    /// leave of. A second signal ends the process at once, with exit code 130.
    ///
    /// Errors: as [`start`](Server::start).
    pub fn run(self) -> Result<(), StartError> {
        let running = self.start()?;
        running.stop_on_signals();
        running.wait();
        Ok(())
    }

    /// Starts the threads and returns. Raises the soft `RLIMIT_NOFILE` to the hard one.
    ///
    /// Errors: an address that cannot be listened on, an io_uring that cannot be set up.
    pub fn start(self) -> Result<Running<A>, StartError> {
        if let Err(error) = ring::raise_nofile() {
            tracing::warn!(%error, "the limit of open files could not be raised");
        }
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        let shards = match self.shards {
            0 => cores.len().max(1),
            shards if shards <= SHARDS_MAX => shards,
            shards => return Err(StartError::TooManyShards { shards }),
        };
        let shard_count = u16::try_from(shards).expect("SHARDS_MAX fits");
        let Bound {
            listeners,
            addresses,
            listens,
        } = bind(&self.listen, shards)?;
        if listens.iter().any(|listen| listen.tls.is_some()) {
            tell_kernel_tls();
        }
        let (admin_listeners, admin_addresses) = bind_admin(&self.admin_listen)?;
        let rings = prepare_rings(shards, self.sockets_per_shard_max)?;
        let seed = seed().map_err(StartError::Randomness)?;
        let shared = Shared::new(self.options, shard_count, seed);
        let capacity = if shards <= 8 {
            MESH_CAPACITY
        } else {
            MESH_CAPACITY_MANY
        };
        let (endpoints, outside) = mesh::<Mail<A>>(shards, capacity);
        let wakers = rings.iter().map(PreparedRing::waker).collect();
        let reach = Reach { outside, wakers };
        let memory = self.memory.watch().map_err(StartError::Memory)?;
        let handle = ServerHandle::new(Arc::clone(&shared), reach, memory.gauge());
        let (to_service, requests) = mpsc::channel(SERVICE_QUEUE);
        let router = (self.router)(handle.clone());
        let admin = Admin {
            listeners: admin_listeners,
            router: (self.admin_router)(handle.clone()),
        };
        let mailer = handle.clone();
        let service = Service::start(
            router,
            admin,
            move |shard, mail| mailer.reach().mail(shard, mail),
            requests,
        )
        .map_err(StartError::Thread)?;
        service.spawn(memory.run(Arc::clone(&shared)));

        let (factory, clock) = (Arc::new(self.factory), Clock::start());
        let ring_fds: Arc<[_]> = rings.iter().map(PreparedRing::fd).collect();
        let mut workers = Vec::with_capacity(shards);
        let parts = rings.into_iter().zip(endpoints).zip(listeners).enumerate();
        for (index, ((ring, endpoint), listeners)) in parts {
            let id = endpoint.shard();
            let worker = Worker {
                id,
                ring,
                endpoint,
                listeners,
                listens: Arc::clone(&listens),
                shared: Arc::clone(&shared),
                service: to_service.clone(),
                ring_fds: Arc::clone(&ring_fds),
                core: (!cores.is_empty()).then(|| cores[index % cores.len()]),
                clock,
                seed: seed ^ u64::from(id.0).wrapping_mul(0x9E37_79B9_7F4A_7C15),
                drain: self.drain,
            };
            let factory = Arc::clone(&factory);
            let thread = std::thread::Builder::new()
                .name(format!("shard-{id}"))
                .spawn(move || worker.run(|| factory(id)))
                .map_err(StartError::Thread)?;
            workers.push(thread);
        }
        Ok(Running {
            handle,
            workers,
            service,
            addresses,
            admin_addresses,
        })
    }
}

/// A server that runs.
pub struct Running<A: App> {
    handle: ServerHandle<A>,
    workers: Vec<JoinHandle<Counters>>,
    service: Service,
    addresses: Vec<SocketAddr>,
    admin_addresses: Vec<SocketAddr>,
}

impl<A: App> fmt::Debug for Running<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Running({:?}, {} shards)",
            self.addresses,
            self.workers.len()
        )
    }
}

impl<A: App> Running<A> {
    /// The addresses listened on, with the ports that port 0 became.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The addresses of [`Server::admin`], with the ports that port 0 became.
    pub fn admin_addresses(&self) -> &[SocketAddr] {
        &self.admin_addresses
    }

    /// The way to the server for other threads.
    pub fn handle(&self) -> ServerHandle<A> {
        self.handle.clone()
    }

    /// Shuts down at SIGTERM or SIGINT; exits at once, with code 130, at the second of them.
    pub fn stop_on_signals(&self) {
        self.stop_on_signals_after(|| ());
    }

    /// As [`stop_on_signals`](Running::stop_on_signals), but calls `tell` before it shuts down.
    pub fn stop_on_signals_after(&self, tell: impl Fn() + Send + 'static) {
        let handle = self.handle();
        self.service.stop_on_signals(move || {
            tell();
            handle.shutdown();
        });
    }

    /// Runs `reload` on the service thread at each SIGHUP, one after the other; signals that come while
    /// it runs are one. It must not block. Without a call SIGHUP ends the process.
    pub fn on_hangup<F>(&self, reload: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send,
    {
        self.service.on_hangup(reload);
    }

    /// Runs work on the service thread, until it is done or the server has ended. It must not block.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.service.spawn(work);
    }

    /// Waits until the server has shut down: after [`ServerHandle::shutdown`], or a signal if
    /// [`stop_on_signals`](Running::stop_on_signals) was called.
    ///
    /// Returns what all shards together have counted, and logs it.
    pub fn wait(self) -> Counters {
        let mut counted = Counters::default();
        for worker in self.workers {
            // A shard that panics has aborted the process; there is nothing to be told here.
            if let Ok(counters) = worker.join() {
                counted.merge(&counters);
            }
        }
        self.service.stop();
        tracing::info!("ended: {counted}");
        counted
    }
}

/// The admin listeners, and the addresses they have.
fn bind_admin(addresses: &[SocketAddr]) -> Result<(Vec<TcpListener>, Vec<SocketAddr>), StartError> {
    let mut listeners = Vec::with_capacity(addresses.len());
    let mut bound = Vec::with_capacity(addresses.len());
    for &address in addresses {
        let refused = |error| StartError::Admin { address, error };
        let listener = listen_admin(address).map_err(refused)?;
        bound.push(listener.local_addr().map_err(refused)?);
        listeners.push(listener);
    }
    Ok((listeners, bound))
}

fn prepare_rings(shards: usize, sockets_max: usize) -> Result<Vec<PreparedRing>, StartError> {
    let sockets_max = match sockets_max {
        0 => CONNECTIONS_PER_SHARD_MAX,
        sockets => sockets.min(CONNECTIONS_PER_SHARD_MAX),
    };
    let config = RingConfig {
        sockets_max: u32::try_from(sockets_max).expect("24 bits"),
        ..RingConfig::default()
    };
    let prepare = || {
        (0..shards)
            .map(|_| Ring::prepare(&config).map_err(StartError::Ring))
            .collect()
    };
    // On a thread that ends: the kernel interrupts whoever made a ring when the ring goes, and a
    // caller of ours that reads with a time-out (SO_RCVTIMEO) just then would be told EINTR.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("rings".into());
        let prepared = thread
            .spawn_scoped(scope, prepare)
            .map_err(StartError::Thread)?;
        prepared
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn seed() -> Result<u64, getrandom::Error> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// What shards send to the service thread, with the shard that an answer goes to.
pub(crate) type ToService<A> = mpsc::Sender<ServiceMail<A>>;

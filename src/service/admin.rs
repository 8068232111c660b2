//! The admin listener: addresses of its own, served by the service thread itself, so that health and
//! metrics answer whatever the shards are busy with.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::{Semaphore, watch};

use super::http;

/// Most connections of the admin listener at once; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 256;
/// How long to wait after an accept has failed, for want of descriptors most likely.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Listeners with the router behind them.
#[derive(Debug, Default)]
pub(crate) struct Admin {
    pub(crate) listeners: Vec<TcpListener>,
    pub(crate) router: Router,
}

/// Listens on an address, for [`Admin`].
///
/// Errors: of `bind(2)` and `listen(2)`.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Accepts until the service stops, then waits for the requests under way. Call on the runtime.
pub(super) async fn serve(admin: Admin, stopped: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut accepting = tokio::task::JoinSet::new();
    for listener in admin.listeners {
        let (router, places, stopped) =
            (admin.router.clone(), Arc::clone(&places), stopped.clone());
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => {
                accepting.spawn(accept(listener, router, places, stopped));
            }
            Err(error) => tracing::error!(%error, "an admin listener was lost"),
        }
    }
    while accepting.join_next().await.is_some() {}
    // All places free again: no request is under way.
    let all = u32::try_from(CONNECTIONS_MAX).expect("a few hundred");
    // An error says that the semaphore is closed, which nobody does.
    let _ = places.acquire_many(all).await;
}

async fn accept(
    listener: tokio::net::TcpListener,
    router: Router,
    places: Arc<Semaphore>,
    mut stopped: watch::Receiver<bool>,
) {
    let connections = stopped.clone();
    let is_over = async {
        // An error says that the service is gone: that is a stop as well.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    tokio::pin!(is_over);
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            () = is_over.as_mut() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (router, stopped) = (router.clone(), connections.clone());
                tokio::spawn(async move {
                    http::serve_stream(stream, peer, (Vec::new(), None), router, stopped).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the admin listener cannot accept");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

//! Chat rooms with the dashboard on a listener of its own, as an operator would have it: clients come
//! by `--listen`, whoever looks after the server by `--admin`.
//!
//! `cargo run --example dashboard -- --listen 127.0.0.1:9006 --admin 127.0.0.1:9007 --token secret`, and
//! open <http://127.0.0.1:9007/admin/>. Without `--token` nobody is asked for one.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use campanile::api::dashboard::DashboardOptions;
use campanile::api::{self, ApiOptions, State};
use campanile::auth::Gate;
use campanile::realtime::{Realtime, RealtimeOptions};
use campanile::{Server, StartError};
use tokio::net::TcpListener;

fn main() -> Result<(), StartError> {
    let (mut admin, mut token) = ("127.0.0.1:9007".to_owned(), None);
    let (listen, shards) = arguments::parse_with(|name, value| {
        match name {
            "--admin" => admin = value.to_owned(),
            "--token" => token = Some(value.to_owned()),
            _ => return false,
        }
        true
    });
    // Whoever comes is believed who he is: `ws://127.0.0.1:9006/v1/connect?user_id=ann`.
    let gate = Arc::new(Gate::trusting());
    let application =
        move |_shard| Realtime::new(RealtimeOptions::default()).with_gate(Arc::clone(&gate));
    let running = Server::new(application)
        .options(arguments::generous())
        .listen(&listen)
        .shards(shards)
        .start()?;
    running.stop_on_signals();
    let options = DashboardOptions {
        server: running.handle(),
        store: None,
        token,
    };
    // What the page acts by. Without a token, in development, it may do all.
    let limits = ApiOptions {
        development: options.token.is_none(),
        ..ApiOptions::default()
    };
    let router = api::admin_router(State::new(running.handle(), limits), options);
    std::thread::spawn(move || serve(&admin, router));
    running.wait();
    Ok(())
}

/// Serves the admin listener until the process ends.
fn serve(address: &str, router: Router) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    runtime.expect("a runtime").block_on(async {
        let listener = TcpListener::bind(address).await.expect("a free address");
        axum::serve(listener, service)
            .await
            .expect("it serves until the end");
    });
}

#[path = "support/arguments.rs"]
#[expect(dead_code, reason = "other examples have no options of their own")]
mod arguments;

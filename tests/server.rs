//! The server over real sockets: every member of the application's API, most with one shard and
//! with three, and everything that the handle, the HTTP side and the shutdown promise.

mod support;

#[path = "server/closing.rs"]
mod closing;
#[path = "server/compression.rs"]
mod compression;
#[path = "server/handle.rs"]
mod handle;
#[path = "server/handshake.rs"]
mod handshake;
#[path = "server/http.rs"]
mod http;
#[path = "server/messages.rs"]
mod messages;
#[path = "server/proxy_protocol.rs"]
mod proxy_protocol;
#[path = "server/pubsub.rs"]
mod pubsub;
#[path = "server/shutdown.rs"]
mod shutdown;
#[path = "server/tls.rs"]
mod tls;
#[path = "server/users.rs"]
mod users;

use campanile::shard::Options;
use campanile::{Server, id::ShardId};

use support::{Diary, Puppet, Site};

/// A server of puppets, and their diary.
fn puppets(shards: usize, options: Options) -> (Site<Puppet>, Diary) {
    let diary = Diary::default();
    let site = Site::start(puppet_server(shards, options, &diary));
    (site, diary)
}

fn puppet_server(
    shards: usize,
    options: Options,
    diary: &Diary,
) -> Server<Puppet, impl Fn(ShardId) -> Puppet + Send + Sync + 'static> {
    let diary = diary.clone();
    Server::new(move |_| Puppet::new(&diary))
        .shards(shards)
        .options(options)
}

/// A name that is at home on `shard`.
fn name_at_home_on(site: &Site<Puppet>, shard: u16) -> String {
    (0..)
        .map(|number| format!("user-{number}"))
        .find(|name| site.handle.home(name) == ShardId(shard))
        .expect("every shard is home to somebody")
}

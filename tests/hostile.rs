//! Peers that break rules, flood, stall and vanish, over real sockets. Each is answered as the RFC
//! says, and in each test a well-behaved client notices nothing.

mod support;

#[path = "hostile/crowd.rs"]
mod crowd;
#[path = "hostile/flood.rs"]
mod flood;
#[path = "hostile/frames.rs"]
mod frames;
#[path = "hostile/heads.rs"]
mod heads;
#[path = "hostile/messages.rs"]
mod messages;
#[path = "hostile/silence.rs"]
mod silence;

use campanile::Server;
use campanile::shard::Options;

use support::{Client, Diary, Puppet, Site};

/// A server of puppets, and their diary.
fn puppets(shards: usize, options: Options) -> (Site<Puppet>, Diary) {
    let diary = Diary::default();
    let theirs = diary.clone();
    let server = Server::new(move |_| Puppet::new(&theirs));
    (Site::start(server.shards(shards).options(options)), diary)
}

/// After all that was done to it, the server holds nothing and serves a newcomer.
fn is_unharmed(site: &Site<Puppet>) {
    site.wait_until_empty();
    let mut client = Client::open(site.address, "/");
    assert_eq!(client.ask("are you well?"), "are you well?");
    drop(client);
    site.wait_until_empty();
}

//! Users: one home for all connections of a user, an exact limit, and mail between shards.

use std::net::SocketAddr;
use std::thread;

use campanile::shard::{OnUserLimit, Options};

use crate::support::{Client, Raw, Response, What, head_of, within_bound};
use crate::{name_at_home_on, puppets};

#[test]
fn a_connection_moves_to_the_home_shard_of_its_user() {
    let (site, diary) = puppets(3, Options::default());
    for number in 0..30 {
        let name = format!("user-{number}");
        let home = site.handle.home(&name).to_string();
        let target = format!("/?user={name}&note={number}");
        let mut first = Client::open(site.address, &target);
        let mut second = Client::open(site.address, &target);
        assert_eq!(
            (first.ask("/shard"), second.ask("/shard")),
            (home.clone(), home)
        );
        assert_eq!(first.ask("/data"), number.to_string());
    }
    diary.wait_for(60, |entry| entry.what == What::Opened);
    // 60 connections that each meet the right one of three shards by chance: no.
    let moved: u64 = site.stats().shards.iter().map(|s| s.counters.moved).sum();
    assert!(moved > 0);
    // The driver tells its own counters once a second.
    let told = within_bound(|| {
        let stats = site.stats();
        stats
            .shards
            .iter()
            .map(|shard| shard.counters.mail_sent)
            .sum::<u64>()
            >= moved
    });
    assert!(told);
}

#[test]
fn a_message_to_a_user_reaches_all_connections_of_that_user_from_any_shard() {
    for shards in [1, 3] {
        let (site, _) = puppets(shards, Options::default());
        let name = name_at_home_on(&site, 0);
        let mut targets = [(); 3].map(|()| Client::open(site.address, &format!("/?user={name}")));
        for shard in 0..u16::try_from(shards).unwrap() {
            let sender = name_at_home_on(&site, shard);
            let mut sender = Client::open(site.address, &format!("/?user={sender}&note=sender"));
            sender.say(&format!("/send_to_user {name} from {shard}"));
            sender.say("/send_to_user nobody lost");
            if shard == 0 && sender.ask("/user") == format!("from {shard}") {
                // The sender is that user as well.
                assert_eq!(sender.hear(), name);
            }
            for target in &mut targets {
                assert_eq!(target.hear(), format!("from {shard}"));
            }
        }
    }
}

#[test]
fn a_connection_is_reached_and_closed_from_another_shard() {
    let (site, diary) = puppets(3, Options::default());
    let (here, there) = (name_at_home_on(&site, 0), name_at_home_on(&site, 2));
    let mut sender = Client::open(site.address, &format!("/?user={here}"));
    let mut target = Client::open(site.address, &format!("/?user={there}"));
    let id = target.ask("/id");
    sender.say(&format!("/send {id} hello"));
    assert_eq!(target.hear(), "hello");
    sender.say(&format!("/close_other {id} enough"));
    assert_eq!(target.closed(), (4321, "enough".into()));
    assert_eq!(diary.closed(&there), (4321, "enough".into()));
    // Nobody is there any more: nothing happens.
    sender.say(&format!("/send {id} hello"));
    sender.say(&format!("/close_other {id} enough"));
    assert_eq!(sender.ask("unharmed"), "unharmed");
}

#[test]
fn mail_reaches_the_application_on_the_shard_it_is_addressed_to() {
    for shards in [1, 3] {
        let (site, _) = puppets(shards, Options::default());
        let mut client = Client::open(site.address, "/");
        for shard in 0..shards {
            client.say(&format!("/mail {shard} read"));
            assert_eq!(client.hear(), format!("read by shard {shard}"));
        }
    }
}

#[test]
fn spawned_work_comes_back_as_mail_to_the_shard_that_asked() {
    for shards in [1, 3] {
        let (site, _) = puppets(shards, Options::default());
        let mut client = Client::open(site.address, "/");
        let shard = client.ask("/shard");
        client.say("/spawn 60 slow");
        client.say("/spawn 0 quick");
        assert_eq!(client.ask("meanwhile"), "meanwhile");
        assert_eq!(client.hear(), format!("quick by shard {shard}"));
        assert_eq!(client.hear(), format!("slow by shard {shard}"));
    }
}

#[test]
fn counts_of_a_shard_are_those_of_its_users() {
    let (site, _) = puppets(1, Options::default());
    let mut ann = Client::open(site.address, "/?user=ann");
    let second = Client::open(site.address, "/?user=ann");
    let bob = Client::open(site.address, "/?user=bob");
    assert_eq!(ann.ask("/counts ann"), "3 2 2 0");
    drop((second, bob));
    assert!(within_bound(|| ann.ask("/counts ann") == "1 1 1 0"));
}

const CROWD: usize = 1000;
const LIMIT: u32 = 5;

/// Opens [`CROWD`] connections of one user at once, from many threads.
fn crowd(address: SocketAddr) -> Vec<(Raw, Response)> {
    const THREADS: usize = 20;
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            thread::spawn(move || {
                let numbers = (0..CROWD / THREADS).map(|n| thread * CROWD / THREADS + n);
                // All requests are on their way before the first answer is read.
                let mut asking: Vec<Raw> = numbers
                    .map(|number| {
                        let mut raw = Raw::connect(address);
                        raw.write(head_of(&format!("/?user=crowd&note={number}"), "").as_bytes());
                        raw
                    })
                    .collect();
                let answers: Vec<_> = asking.iter_mut().map(Raw::response).collect();
                asking.into_iter().zip(answers).collect::<Vec<_>>()
            })
        })
        .collect();
    threads
        .into_iter()
        .flat_map(|thread| thread.join().expect("no client panics"))
        .collect()
}

#[test]
fn of_a_thousand_simultaneous_connections_of_a_user_exactly_five_are_let_in() {
    let (site, diary) = puppets(4, Options::default());
    let (mut open, refused): (Vec<_>, Vec<_>) = crowd(site.address)
        .into_iter()
        .partition(|(_, response)| response.status == 101);
    assert_eq!((open.len(), refused.len()), (5, 995));
    for (mut raw, response) in refused {
        assert_eq!(
            (response.status, response.code().as_str()),
            (429, "connection_limit")
        );
        assert_eq!(response.json()["details"]["limit"], LIMIT);
        raw.at_end();
    }
    for (raw, _) in &mut open {
        assert_eq!(raw.ask("let in"), "let in");
    }
    assert_eq!(diary.entries(|entry| entry.what == What::Opened).len(), 5);
    let stats = site.stats();
    assert_eq!((stats.total_users, stats.total_connections), (1, 5));

    // A place that becomes free is given again, and only that one.
    drop(open.pop());
    let mut again = None;
    assert!(within_bound(|| {
        let mut raw = Raw::connect(site.address);
        let is_in = raw.upgrade("/?user=crowd", "").status == 101;
        again = is_in.then_some(raw);
        is_in
    }));
    let mut beyond = Raw::connect(site.address);
    assert_eq!(beyond.upgrade("/?user=crowd", "").status, 429);
    drop((open, again));
    site.wait_until_empty();
}

#[test]
fn of_a_thousand_simultaneous_connections_of_a_user_the_last_five_stay_if_the_oldest_yield() {
    let options = Options {
        on_user_limit: OnUserLimit::EvictOldest,
        ..Options::default()
    };
    let (site, diary) = puppets(4, options);
    let mut clients = Vec::new();
    for (raw, response) in crowd(site.address) {
        assert_eq!(response.status, 101, "{response:?}");
        clients.push(raw);
    }
    let evicted = diary.wait_for(CROWD - 5, |entry| matches!(entry.what, What::Closed { .. }));
    let evicted: Vec<usize> = evicted.iter().map(|e| e.note.parse().unwrap()).collect();
    for (number, raw) in clients.iter_mut().enumerate() {
        if evicted.contains(&number) {
            assert_eq!(
                raw.closed(),
                (4409, "replaced by a newer connection".into())
            );
        } else {
            assert_eq!(raw.ask("let in"), "let in");
        }
    }
    let stats = site.stats();
    assert_eq!((stats.total_users, stats.total_connections), (1, 5));
    let counted: u64 = stats.shards.iter().map(|s| s.counters.evicted).sum();
    assert_eq!(counted, 995);
    drop(clients);
    site.wait_until_empty();
}

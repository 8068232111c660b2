//! The handle: the server from other threads.

use std::thread;
use std::time::Duration;

use campanile::id::{ConnectionId, ShardId};
use campanile::shard::Options;
use campanile::ws::CloseCode;

use crate::support::{Client, Puppet, Raw, Said, Site, What, block_on, identifier};
use crate::{name_at_home_on, puppets};

/// Runs `work` on a thread that knows nothing but the handle.
fn elsewhere<T: Send + 'static>(
    site: &Site<Puppet>,
    work: impl FnOnce(campanile::ServerHandle<Puppet>) -> T + Send + 'static,
) -> T {
    let handle = site.handle.clone();
    let thread = thread::spawn(move || work(handle));
    thread.join().expect("the work does not panic")
}

/// One client on each shard, subscribed to `news`, with its name and identifier.
fn one_on_each(site: &Site<Puppet>) -> Vec<(Client, String, ConnectionId)> {
    (0..site.handle.shard_count())
        .map(|shard| {
            let name = name_at_home_on(site, shard);
            let mut client = Client::open(site.address, &format!("/?user={name}"));
            assert_eq!(client.ask("/subscribe news"), "New");
            let id = identifier(&client.ask("/id"));
            assert_eq!(id.shard(), ShardId(shard));
            (client, name, id)
        })
        .collect()
}

#[test]
fn publish_reaches_the_subscribers_of_all_shards_but_the_excluded() {
    for shards in [1, 3] {
        let (site, _) = puppets(shards, Options::default());
        let mut clients = one_on_each(&site);
        let excluded = clients[0].2;
        elsewhere(&site, move |handle| {
            handle.publish("news", "one", None).unwrap();
            handle.publish("news", "two", Some(excluded)).unwrap();
            handle.publish("other news", "not for you", None).unwrap();
            handle.publish("news", "three", None).unwrap();
        });
        for (number, (client, ..)) in clients.iter_mut().enumerate() {
            assert_eq!(client.hear(), "one");
            if number > 0 {
                assert_eq!(client.hear(), "two");
            }
            assert_eq!(client.hear(), "three");
        }
    }
}

#[test]
fn broadcast_and_send_to_user_reach_whom_they_are_for() {
    for shards in [1, 3] {
        let (site, _) = puppets(shards, Options::default());
        let mut clients = one_on_each(&site);
        let names: Vec<String> = clients.iter().map(|(_, name, _)| name.clone()).collect();
        elsewhere(&site, move |handle| {
            for name in names {
                handle.send_to_user(&name, name.as_str()).unwrap();
            }
            handle.send_to_user("nobody", "lost").unwrap();
            handle.broadcast(&b"all of you"[..]).unwrap();
        });
        for (client, name, _) in &mut clients {
            assert_eq!(client.hear(), *name);
            assert_eq!(
                client.next(),
                tungstenite::Message::binary(&b"all of you"[..])
            );
        }
    }
}

#[test]
fn close_ends_one_connection() {
    for shards in [1, 3] {
        let (site, _) = puppets(shards, Options::default());
        let mut clients = one_on_each(&site);
        let (mut client, _, id) = clients.pop().unwrap();
        let code = CloseCode::new(4777).unwrap();
        elsewhere(&site, move |handle| {
            handle.close(id, code, "by the handle").unwrap();
            // A second time there is nothing to close.
            handle.close(id, code, "again").unwrap();
        });
        assert_eq!(client.closed(), (4777, "by the handle".into()));
        for (client, ..) in &mut clients {
            assert_eq!(client.ask("unharmed"), "unharmed");
        }
    }
}

#[test]
fn questions_and_mail_reach_each_shard() {
    let (site, _) = puppets(3, Options::default());
    let mut clients = one_on_each(&site);
    for shard in (0..3).map(ShardId) {
        let answer = elsewhere(&site, move |handle| {
            block_on(handle.ask(shard, |_, context| {
                (context.shard(), context.connection_count())
            }))
        });
        assert_eq!(answer, Ok(Some((shard, 1))));
        let (client, _, to) = &mut clients[shard.index()];
        let said = Said {
            to: *to,
            text: "letter".into(),
        };
        elsewhere(&site, move |handle| {
            handle.mail(shard, said.into()).unwrap()
        });
        assert_eq!(client.hear(), format!("letter by shard {shard}"));
    }
    let count = elsewhere(&site, |handle| block_on(handle.subscriber_count("news")));
    assert_eq!(count, Ok(3));
}

#[test]
fn stats_count_users_connections_and_messages_of_all_shards() {
    let (site, diary) = puppets(3, Options::default());
    let mut clients = one_on_each(&site);
    let (_, name, _) = &clients[1];
    let mut second = Client::open(site.address, &format!("/?user={name}"));
    assert_eq!(second.ask("/subscribe news"), "New");
    diary.wait_for(4, |entry| entry.what == What::Opened);
    let before = elsewhere(&site, |handle| block_on(handle.stats())).unwrap();
    assert_eq!((before.total_users, before.total_connections), (3, 4));
    assert_eq!(before.shards.len(), 3);
    assert_eq!(
        (before.shards[1].users, before.shards[1].connections),
        (1, 2)
    );

    clients[0].0.say("/publish news hello");
    assert_eq!(second.hear(), "hello");
    let after = site.stats();
    let (before, after) = (before.shards[0].counters, after.shards[0].counters);
    assert_eq!(after.messages_in - before.messages_in, 1);
    assert_eq!(after.bytes_in - before.bytes_in, 19);
    assert_eq!(after.published - before.published, 1);
}

#[test]
fn mail_of_many_threads_at_once_is_neither_lost_nor_mixed() {
    const THREADS: usize = 4;
    const EACH: usize = 2000;
    let (site, _) = puppets(3, Options::default());
    let mut clients = one_on_each(&site);
    let names: Vec<String> = clients.iter().map(|(_, name, _)| name.clone()).collect();
    let senders: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (handle, names) = (site.handle.clone(), names.clone());
            thread::spawn(move || {
                for number in 0..EACH {
                    // A broadcast that meets a full queue has reached the shards before it: sent
                    // again as a whole, those would have it twice. So each shard is sent to by
                    // itself, through a user who is at home there.
                    let text = format!("{thread} {number}");
                    for user in &names {
                        while handle.send_to_user(user, text.as_str()).is_err() {
                            thread::yield_now();
                        }
                    }
                }
            })
        })
        .collect();
    for (client, ..) in &mut clients {
        let mut next = [0; THREADS];
        for _ in 0..THREADS * EACH {
            let text = client.hear();
            let (thread, number) = text.split_once(' ').unwrap();
            let thread: usize = thread.parse().unwrap();
            assert_eq!(number.parse(), Ok(next[thread]));
            next[thread] += 1;
        }
    }
    for sender in senders {
        sender.join().unwrap();
    }
}

#[test]
fn new_options_hold_from_the_next_event_on() {
    for shards in [1, 3] {
        let (site, _) = puppets(shards, Options::default());
        let name = name_at_home_on(&site, site.handle.shard_count() - 1);
        let target = format!("/?user={name}");
        let mut first = Client::open(site.address, &target);
        let options = Options {
            connections_per_user_max: 1,
            message_bytes_max: 10,
            ..Options::default()
        };
        block_on(site.handle.reconfigure(options)).unwrap();
        assert_eq!(Raw::connect(site.address).upgrade(&target, "").status, 429);
        // What it was promised when it opened.
        assert_eq!(
            first.ask("twenty bytes, at least"),
            "twenty bytes, at least"
        );
        block_on(site.handle.reconfigure(Options::default())).unwrap();
        Client::open(site.address, &target);
    }
}

#[test]
fn a_deadline_that_is_set_later_is_kept_for_connections_that_were_there_before() {
    let options = Options {
        ping_period: Duration::ZERO,
        pong_wait: Duration::ZERO,
        ..Options::default()
    };
    let (site, _) = puppets(1, options.clone());
    let mut raw = Raw::open(site.address, "/");
    let options = Options {
        idle_timeout: Duration::from_secs(1),
        ..options
    };
    block_on(site.handle.reconfigure(options)).unwrap();
    assert_eq!(raw.closed().0, 1001);
}

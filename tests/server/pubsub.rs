//! Topics: who gets what, in what order, on how many shards.

use campanile::shard::Options;

use crate::support::{Client, Puppet, Site, within_bound};
use crate::{name_at_home_on, puppets};

/// Ann on the first shard, Bob on the last, Cleo on the first again: subscribed to `news`.
fn three_readers(site: &Site<Puppet>) -> [Client; 3] {
    let last = site.handle.shard_count() - 1;
    [0, last, 0].map(|shard| {
        let name = name_at_home_on(site, shard);
        let mut client = Client::open(site.address, &format!("/?user={name}"));
        assert_eq!(client.ask("/subscribe news"), "New");
        client
    })
}

/// Nothing has come before the answer to a question.
fn has_heard_nothing(client: &mut Client) {
    assert_eq!(client.ask("nothing yet"), "nothing yet");
}

#[test]
fn publish_reaches_the_others_and_not_the_publisher() {
    for shards in [1, 3] {
        let (site, _) = puppets(shards, Options::default());
        let [mut ann, mut bob, mut cleo] = three_readers(&site);
        ann.say("/publish news one");
        assert_eq!((bob.hear(), cleo.hear()), ("one".into(), "one".into()));
        has_heard_nothing(&mut ann);
        bob.say("/publish news two");
        assert_eq!((ann.hear(), cleo.hear()), ("two".into(), "two".into()));
        has_heard_nothing(&mut bob);
    }
}

#[test]
fn publish_reaches_the_publisher_too_if_that_is_wanted() {
    let options = Options {
        publish_to_self: true,
        ..Options::default()
    };
    for shards in [1, 3] {
        let (site, _) = puppets(shards, options.clone());
        let mut readers = three_readers(&site);
        readers[0].say("/publish news hello");
        for reader in &mut readers {
            assert_eq!(reader.hear(), "hello");
        }
    }
}

#[test]
fn the_contexts_publish_excludes_only_whom_it_is_told_to() {
    for shards in [1, 3] {
        let (site, _) = puppets(shards, Options::default());
        let [mut ann, mut bob, mut cleo] = three_readers(&site);
        ann.say("/publish_to_all news one");
        ann.say("/publish_to_others news two");
        assert_eq!((bob.hear(), bob.hear()), ("one".into(), "two".into()));
        assert_eq!((cleo.hear(), cleo.hear()), ("one".into(), "two".into()));
        assert_eq!(ann.hear(), "one");
        has_heard_nothing(&mut ann);
    }
}

#[test]
fn a_publisher_need_not_be_subscribed() {
    let (site, _) = puppets(3, Options::default());
    let [mut ann, mut bob, mut cleo] = three_readers(&site);
    let mut passer_by = Client::open(site.address, "/");
    passer_by.say("/publish news extra");
    for reader in [&mut ann, &mut bob, &mut cleo] {
        assert_eq!(reader.hear(), "extra");
    }
    has_heard_nothing(&mut passer_by);
}

#[test]
fn subscriptions_are_counted_once_listed_and_ended() {
    for shards in [1, 3] {
        let (site, _) = puppets(shards, Options::default());
        let mut client = Client::open(site.address, "/");
        assert_eq!(client.ask("/subscriptions"), "");
        assert_eq!(client.ask("/is_subscribed b"), "false");
        assert_eq!(client.ask("/subscribe b"), "New");
        assert_eq!(client.ask("/subscribe a"), "New");
        assert_eq!(client.ask("/subscribe b"), "Already");
        assert_eq!(client.ask("/subscriptions"), "a,b");
        assert_eq!(client.ask("/is_subscribed b"), "true");
        assert_eq!(client.ask("/unsubscribe b"), "true");
        assert_eq!(client.ask("/unsubscribe b"), "false");
        assert_eq!(client.ask("/subscriptions"), "a");

        let mut other = Client::open(site.address, "/");
        other.say("/publish b not for you");
        other.say("/publish a for you");
        assert_eq!(client.hear(), "for you");
    }
}

#[test]
fn subscriptions_have_limits() {
    let options = Options {
        subscriptions_max: 2,
        ..Options::default()
    };
    let (site, _) = puppets(1, options);
    let mut client = Client::open(site.address, "/");
    assert_eq!(client.ask("/subscribe "), "BadTopic");
    let long = "t".repeat(257);
    assert_eq!(client.ask(&format!("/subscribe {long}")), "BadTopic");
    assert_eq!(client.ask(&format!("/subscribe {}", &long[1..])), "New");
    assert_eq!(client.ask("/subscribe b"), "New");
    assert_eq!(client.ask("/subscribe c"), "TooMany");
    assert_eq!(client.ask("/unsubscribe b"), "true");
    assert_eq!(client.ask("/subscribe c"), "New");
}

#[test]
fn broadcast_reaches_every_connection_on_every_shard() {
    for shards in [1, 3] {
        let (site, _) = puppets(shards, Options::default());
        let mut clients: Vec<Client> = (0..shards)
            .flat_map(|shard| [shard, shard])
            .map(|shard| name_at_home_on(&site, u16::try_from(shard).unwrap()))
            .map(|name| Client::open(site.address, &format!("/?user={name}")))
            .collect();
        clients[0].say("/broadcast to all");
        clients[0].say("/broadcast_to_others to the others");
        for client in &mut clients {
            assert_eq!(client.hear(), "to all");
        }
        for client in &mut clients[1..] {
            assert_eq!(client.hear(), "to the others");
        }
        has_heard_nothing(&mut clients[0]);
    }
}

#[test]
fn one_publishers_messages_arrive_in_order_on_every_shard() {
    const COUNT: usize = 3000;
    let (site, _) = puppets(3, Options::default());
    let mut readers = three_readers(&site);
    let mut publisher = Client::open(site.address, "/");
    for number in 0..COUNT {
        publisher.say(&format!("/publish news {number}"));
    }
    for reader in &mut readers {
        for number in 0..COUNT {
            assert_eq!(reader.hear(), number.to_string());
        }
    }
}

#[test]
fn a_closed_connection_leaves_no_topic_behind() {
    let (site, _) = puppets(3, Options::default());
    let readers = three_readers(&site);
    let count = || crate::support::block_on(site.handle.subscriber_count("news")).unwrap();
    assert_eq!(count(), 3);
    drop(readers);
    assert!(within_bound(|| count() == 0));
    site.wait_until_empty();
}

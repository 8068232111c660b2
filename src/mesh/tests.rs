//! Order, fairness, backlog, and wake-ups that are never lost.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const FIRST: ShardId = ShardId(0);
const SECOND: ShardId = ShardId(1);

fn pair<M: Send>(capacity: usize) -> (Endpoint<M>, Endpoint<M>, Outside<M>) {
    let (endpoints, outside) = mesh(2, capacity);
    let [first, second] = <[_; 2]>::try_from(endpoints).expect("two were asked for");
    (first, second, outside)
}

fn all<M>(endpoint: &mut Endpoint<M>) -> Vec<M> {
    std::iter::from_fn(|| endpoint.receive()).collect()
}

fn woken_by<M>(endpoint: &mut Endpoint<M>) -> Vec<ShardId> {
    let mut woken = Vec::new();
    endpoint.wakes(|shard| woken.push(shard));
    woken
}

proptest! {
    #[test]
    fn a_pair_is_first_in_first_out_whatever_waits_in_the_backlog(
        capacity in 1usize..8,
        steps in prop::collection::vec((0usize..12, 0usize..12), 1..40),
    ) {
        let (mut from, mut to, _outside) = pair(capacity);
        let (mut sent, mut received) = (0_u32, 0_u32);
        for (sends, receives) in steps {
            for _ in 0..sends {
                from.send(SECOND, sent);
                sent += 1;
            }
            for _ in 0..receives {
                if let Some(mail) = to.receive() {
                    prop_assert_eq!(mail, received);
                    received += 1;
                }
            }
            let is_clear = from.flush();
            prop_assert_eq!(is_clear, from.backlog_len() == 0);
        }
        while received < sent {
            from.flush();
            for mail in all(&mut to) {
                prop_assert_eq!(mail, received);
                received += 1;
            }
        }
        prop_assert_eq!(from.backlog_len(), 0);
        prop_assert_eq!(from.counters().sent, to.counters().received);
    }
}

#[test]
fn what_finds_the_queue_full_is_delayed_and_counted_not_lost() {
    let (mut from, mut to, _outside) = pair(2);
    for mail in 0..5 {
        from.send(SECOND, mail);
    }
    assert_eq!(from.backlog_len(), 3);
    assert_eq!(from.counters().delayed, 3);
    assert!(!from.flush());
    assert_eq!(all(&mut to), [0, 1]);
    assert!(!from.flush());
    // Behind the backlog, although the queue had room for it once.
    from.send(SECOND, 5);
    assert_eq!(all(&mut to), [2, 3]);
    assert!(from.flush());
    assert_eq!(all(&mut to), [4, 5]);
}

#[test]
fn a_flood_from_one_peer_delays_no_other() {
    let (endpoints, outside) = mesh(3, 1000);
    let [mut flooder, mut modest, mut to] = <[_; 3]>::try_from(endpoints).unwrap();
    for _ in 0..1000 {
        flooder.send(ShardId(2), "flood");
    }
    modest.send(ShardId(2), "modest");
    assert_eq!(outside.send(ShardId(2), "outside"), Ok(Delivered::Awake));
    let order = all(&mut to);
    let place = |mail| order.iter().position(|other| *other == mail).unwrap();
    assert_eq!(order.len(), 1002);
    assert!(place("modest") <= BURST_MAX as usize + 1);
    assert!(place("outside") <= BURST_MAX as usize + 2);
}

/// A question to a shard that had ended lay in its queue for ever, and whoever had asked it waited
/// for ever: the queue lived on with its senders. Now it goes with the shard.
#[test]
fn mail_from_outside_goes_with_the_shard_it_was_for() {
    let letter = || Arc::new(());
    let (before, after) = (letter(), letter());
    let (_first, second, outside) = pair(4);
    assert_eq!(outside.send(SECOND, before.clone()), Ok(Delivered::Awake));
    drop(second);
    assert_eq!(Arc::strong_count(&before), 1, "dropped unread");
    for _ in 0..10 {
        assert_eq!(outside.send(SECOND, after.clone()), Ok(Delivered::Gone));
    }
    assert_eq!(Arc::strong_count(&after), 1, "dropped at once");
    assert_eq!(outside.send(ShardId(0), after), Ok(Delivered::Awake));
}

#[test]
fn a_full_queue_from_outside_gives_the_mail_back() {
    let (_first, mut second, outside) = pair(1);
    assert_eq!(outside.send(SECOND, 1), Ok(Delivered::Awake));
    assert_eq!(outside.send(SECOND, 2), Err(2));
    assert_eq!(all(&mut second), [1]);
    assert_eq!(outside.send(SECOND, 3), Ok(Delivered::Awake));
}

#[test]
fn a_sleeper_is_woken_once_and_a_busy_peer_never() {
    let (mut first, mut second, outside) = pair(8);
    first.send(SECOND, 1);
    assert!(woken_by(&mut first).is_empty());
    assert!(!second.park(), "there is mail");
    assert_eq!(all(&mut second), [1]);
    assert!(second.park());
    first.send(SECOND, 2);
    first.send(SECOND, 3);
    assert_eq!(woken_by(&mut first), [SECOND]);
    // It is owed one wake, which is on its way.
    first.send(SECOND, 4);
    assert!(woken_by(&mut first).is_empty());
    assert_eq!(outside.send(SECOND, 5), Ok(Delivered::Awake));
    second.unpark();
    assert_eq!(all(&mut second).len(), 4);
    assert!(second.park());
    assert_eq!(outside.send(SECOND, 6), Ok(Delivered::Asleep));
    assert_eq!(first.counters().wakes, 1);
}

#[test]
fn backlog_that_moves_on_wakes_the_sleeper_too() {
    let (mut first, mut second, _outside) = pair(1);
    first.send(SECOND, 1);
    first.send(SECOND, 2);
    assert!(woken_by(&mut first).is_empty());
    assert_eq!(all(&mut second), [1]);
    assert!(second.park());
    assert!(first.flush());
    assert_eq!(woken_by(&mut first), [SECOND]);
}

#[test]
#[should_panic(expected = "no letters to itself")]
fn a_shard_does_not_write_to_itself() {
    let (mut first, _second, _outside) = pair(1);
    first.send(FIRST, ());
}

/// Two threads pass one token to and fro, and sleep in between. A lost wake-up leaves both asleep,
/// which the timeout of the channel tells.
#[test]
fn no_wake_up_is_lost_between_two_threads() {
    const ROUNDS: u32 = 100_000;
    let (first, second, _outside) = pair::<u32>(4);
    let (wake_first, first_wakes) = mpsc::channel();
    let (wake_second, second_wakes) = mpsc::channel();
    let run = |mut endpoint: Endpoint<u32>,
               to: ShardId,
               wakes: mpsc::Receiver<()>,
               wake: mpsc::Sender<()>| {
        let mut slept = 0_u32;
        if endpoint.shard() == FIRST {
            endpoint.send(to, 0);
        }
        loop {
            while let Some(token) = endpoint.receive() {
                if token >= ROUNDS {
                    return slept;
                }
                // The last two tokens stop one side each.
                endpoint.send(to, token + 1);
                if token + 1 >= ROUNDS {
                    endpoint.wakes(|_| wake.send(()).unwrap());
                    return slept;
                }
            }
            endpoint.wakes(|_| wake.send(()).unwrap());
            if endpoint.park() {
                slept += 1;
                wakes
                    .recv_timeout(Duration::from_secs(20))
                    .expect("a wake-up was lost");
                endpoint.unpark();
            }
        }
    };
    let peer = thread::spawn(move || run(second, FIRST, second_wakes, wake_first));
    let slept = run(first, SECOND, first_wakes, wake_second) + peer.join().unwrap();
    assert!(slept > 0, "nobody ever slept, so nothing was tried");
}

/// Many mails from a peer and from two threads outside, through small queues, to a shard that sleeps
/// whenever it can.
#[test]
fn everything_arrives_in_order_from_peers_and_from_outside() {
    const MAILS: u32 = 50_000;
    let (mut first, mut second, outside) = pair::<(u8, u32)>(16);
    let (wake, wakes) = mpsc::channel();
    let peer_wake = wake.clone();
    let peer = thread::spawn(move || {
        for mail in 0..MAILS {
            first.send(SECOND, (0, mail));
            if mail % 64 == 0 || first.backlog_len() > 256 {
                while !first.flush() {
                    first.wakes(|_| peer_wake.send(()).unwrap());
                    thread::yield_now();
                }
                first.wakes(|_| peer_wake.send(()).unwrap());
            }
        }
        while !first.flush() {
            first.wakes(|_| peer_wake.send(()).unwrap());
            thread::yield_now();
        }
        first.wakes(|_| peer_wake.send(()).unwrap());
    });
    let others: Vec<_> = (1..3_u8)
        .map(|source| {
            let (outside, wake) = (outside.clone(), wake.clone());
            thread::spawn(move || {
                for mail in 0..MAILS {
                    let mut letter = (source, mail);
                    loop {
                        match outside.send(SECOND, letter) {
                            Ok(Delivered::Asleep) => break wake.send(()).unwrap(),
                            Ok(Delivered::Awake | Delivered::Gone) => break,
                            Err(back) => letter = back,
                        }
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let mut next = [0_u32; 3];
    while next.iter().sum::<u32>() < 3 * MAILS {
        if let Some((source, mail)) = second.receive() {
            assert_eq!(mail, next[usize::from(source)]);
            next[usize::from(source)] += 1;
        } else if second.park() {
            wakes
                .recv_timeout(Duration::from_secs(20))
                .expect("a wake-up was lost");
            second.unpark();
        }
    }
    peer.join().unwrap();
    others.into_iter().for_each(|other| other.join().unwrap());
    assert_eq!(next, [MAILS; 3]);
}

//! Two thousand clients that come and go at any moment of a connection's life.

use std::net::SocketAddr;
use std::thread;

use campanile::shard::Options;
use campanile::ws::Opcode;

use crate::support::{Client, Diary, Raw, What, block_on, frame_of, head_of};
use crate::{is_unharmed, puppets};

const CLIENTS: usize = 2000;
const THREADS: usize = 4;
const SEED: u64 = 0x00CA_3A11;

/// One client's life, of a dozen kinds.
fn live(random: &mut fastrand::Rng, address: SocketAddr) {
    let user = format!("u-{}", random.u8(..));
    let mut raw = Raw::connect(address);
    let defer = ["", "", "&defer=1", "&defer=20", "&defer_refuse=1"][random.usize(..5)];
    let head = head_of(&format!("/?user={user}{defer}"), "");
    let reset = random.bool();
    let leave = move |raw: Raw| if reset { raw.reset() } else { drop(raw) };
    match random.u32(..12) {
        // Before, in and right after the head.
        0 => return leave(raw),
        1 => {
            raw.write(&head.as_bytes()[..random.usize(..head.len())]);
            return leave(raw);
        }
        2 => {
            raw.write(head.as_bytes());
            return leave(raw);
        }
        3 => {
            raw.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
            return leave(raw);
        }
        // With frames in the same breath.
        4 => {
            let frames = frame_of(Opcode::Text, b"/subscribe news").repeat(3);
            raw.write(&[head.as_bytes(), &frames[..random.usize(..frames.len())]].concat());
            return leave(raw);
        }
        _ => raw.write(head.as_bytes()),
    }
    let response = raw.response();
    if response.status != 101 {
        return leave(raw);
    }
    let say = |raw: &mut Raw, text: &str| {
        raw.write_until_refused(&frame_of(Opcode::Text, text.as_bytes()));
    };
    say(&mut raw, "/subscribe news");
    match random.u32(..8) {
        0 => {}
        1 => say(&mut raw, "/terminate"),
        2 => say(&mut raw, "/close 4000 enough"),
        3 => raw.write(&frame_of(Opcode::Close, b"\x03\xE8")),
        4 => raw.write(&frame_of(Opcode::Binary, &[0; 3000])[..random.usize(1..3000)]),
        5 => say(&mut raw, "/flood 30 8000"),
        6 => {
            say(&mut raw, "/publish_to_all news hello");
            say(
                &mut raw,
                &format!("/send_to_user u-{} hello", random.u8(..)),
            );
        }
        _ => raw.write_until_refused(&[0xFF; 20]),
    }
    if random.bool() {
        // Hears what there is before it goes.
        raw.end_writing();
        raw.read_to_end();
    }
    leave(raw);
}

/// Found a half-close that hit a stranger: the kernel looks the number of an ordinary descriptor up
/// when its worker thread gets to the shutdown, and by then the refused connection it was meant for
/// had been closed and its number given to a newcomer, who got the end of the stream in place of an
/// answer. The driver now closes no number whose shutdown is still on its way.
#[test]
fn after_two_thousand_clients_that_left_at_any_moment_nothing_is_left() {
    println!("seed {SEED}");
    let (site, diary) = puppets(3, Options::default());
    let mut witness = Client::open(site.address, "/?user=witness");
    let address = site.address;
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let mut random = fastrand::Rng::with_seed(SEED + thread as u64);
            thread::spawn(move || {
                for _ in 0..CLIENTS / THREADS {
                    live(&mut random, address);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(witness.ask("all quiet"), "all quiet");
    drop(witness);
    is_unharmed(&site);

    assert_eq!(block_on(site.handle.subscriber_count("news")), Ok(0));
    balance(&diary);
}

/// `open` and `close` were called equally often, for each user.
fn balance(diary: &Diary) {
    let mut users: Vec<String> = diary
        .entries(|entry| entry.what == What::Opened)
        .into_iter()
        .map(|entry| entry.user)
        .collect();
    assert!(users.len() > CLIENTS / 4, "{} were open", users.len());
    let closed = diary.entries(|entry| matches!(entry.what, What::Closed { .. }));
    let mut gone: Vec<String> = closed.into_iter().map(|entry| entry.user).collect();
    users.sort();
    gone.sort();
    assert_eq!(users, gone);
}

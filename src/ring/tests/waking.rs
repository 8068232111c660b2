//! Wakes: between rings, and from threads that have none.

use super::*;

fn until_woken(ring: &mut Ring) {
    for _ in 0..TURNS_MAX {
        ring.submit_and_wait(TURN, |_| {}).unwrap();
        while let Some(completion) = ring.next_completion() {
            if matches!(completion, Completion::Woken) {
                return;
            }
        }
    }
    panic!("never woken: {ring:?}");
}

#[test]
fn one_ring_wakes_another_and_is_answered() {
    let first = Ring::prepare(&small()).unwrap();
    let second = Ring::prepare(&small()).unwrap();
    let (to_first, to_second) = (first.fd(), second.fd());
    let (enabled, is_enabled) = mpsc::channel();
    let peer = thread::spawn(move || {
        let mut ring = second.enable().unwrap();
        enabled.send(()).unwrap();
        for _ in 0..100 {
            until_woken(&mut ring);
            ring.wake_ring(to_first);
        }
        ring.submit_and_wait(Some(Duration::ZERO), |_| {}).unwrap();
        ring.counters()
    });
    let mut ring = first.enable().unwrap();
    is_enabled.recv().unwrap();
    for _ in 0..100 {
        ring.wake_ring(to_second);
        until_woken(&mut ring);
    }
    assert_eq!(peer.join().unwrap().wakes_failed, 0);
    assert_eq!(ring.counters().wakes, 100);
    assert_eq!(ring.counters().wakes_failed, 0);
}

#[test]
fn a_wake_to_a_ring_that_is_not_enabled_is_counted() {
    let mut ring = Ring::prepare(&small()).unwrap().enable().unwrap();
    let asleep = Ring::prepare(&small()).unwrap();
    ring.wake_ring(asleep.fd());
    ring.submit_and_wait(Some(Duration::ZERO), |_| {}).unwrap();
    assert!(ring.next_completion().is_none());
    assert_eq!(ring.counters().wakes_failed, 1);
}

#[test]
fn any_thread_wakes_a_ring_that_waits_for_ever() {
    let prepared = Ring::prepare(&small()).unwrap();
    let waker = prepared.waker();
    let (woken, was_woken) = mpsc::channel();
    let sleeper = thread::spawn(move || {
        let mut ring = prepared.enable().unwrap();
        for round in 0..100 {
            ring.submit_and_wait(None, |_| {}).unwrap();
            while let Some(completion) = ring.next_completion() {
                assert!(matches!(completion, Completion::Woken));
            }
            woken.send(round).unwrap();
        }
    });
    for round in 0..100 {
        waker.wake();
        let deadline = Duration::from_secs(20);
        assert_eq!(was_woken.recv_timeout(deadline).unwrap(), round);
    }
    sleeper.join().unwrap();
    waker.wake();
}

#[test]
fn a_timeout_ends_the_wait_and_zero_does_not_wait() {
    let mut ring = Ring::prepare(&small()).unwrap().enable().unwrap();
    let clock = crate::time::Clock::start();
    ring.submit_and_wait(Some(Duration::from_millis(30)), |_| {})
        .unwrap();
    assert!(clock.now().monotonic_ms >= 29);
    let before = clock.now().monotonic_ms;
    for _ in 0..100 {
        ring.submit_and_wait(Some(Duration::ZERO), |_| {}).unwrap();
    }
    assert!(clock.now().monotonic_ms - before < 1000);
    assert!(ring.next_completion().is_none());
}

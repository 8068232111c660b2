//! The course of a run in which messages flow: warm up, measure, let everything arrive, close.

use std::time::Duration;

use super::crowd::{Command, Crowd};
use super::fault::Fault;
use super::report::Report;

/// How long messages are measured.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Length {
    /// So long, after a warm-up.
    Time {
        warm_up: Duration,
        duration: Duration,
    },
    /// Until so many were sent and have arrived everywhere.
    Messages(u64),
}

/// How long the last messages may take to come.
const FINISH: Duration = Duration::from_secs(20);

/// Opens all connections, waits until they are `settled`, lets them talk, and closes them.
pub(crate) fn run(
    mut crowd: Crowd,
    length: Length,
    report: &mut Report,
    settled: impl FnOnce(&mut Crowd) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let connections = crowd.plan.connections;
    let connect_s = crowd.open(connections, None)?;
    report.count("connections", connections as u64);
    report.number("connect_s", connect_s);
    report.number("handshakes_per_s", connections as f64 / connect_s);
    settled(&mut crowd)?;
    match length {
        Length::Time { warm_up, duration } => {
            report.number("warm_up_s", warm_up.as_secs_f64());
            report.number("duration_s", duration.as_secs_f64());
            crowd.order(Command::Start);
            crowd.rest(warm_up)?;
            measure(&mut crowd, report, false, |crowd| {
                crowd.rest(duration).map(|_| ())
            })?;
            crowd.order(Command::Stop);
            arrive(&mut crowd)?;
        }
        Length::Messages(messages) => {
            measure(&mut crowd, report, true, |crowd| {
                crowd.order(Command::Start);
                let sent = crowd.wait("all messages are sent", |totals| totals.sent >= messages);
                sent.and_then(|_| arrive(crowd))
            })?;
        }
    }
    crowd.order(Command::Verify);
    crowd.close()?;
    crowd.end()
}

/// Waits for all that is under way, and no more than that.
pub(crate) fn arrive(crowd: &mut Crowd) -> Result<(), Fault> {
    let mut last = None;
    let done = crowd.wait_within(FINISH, "everything has arrived", |totals| {
        // Twice, so that no message is sent between two looks because another has come.
        let is_done = totals.received >= totals.due;
        let is_settled = is_done && last == Some(*totals);
        last = Some(*totals);
        is_settled
    })?;
    let totals = crowd.shared.totals();
    let (received, expected) = (totals.received, totals.due);
    match done {
        Some(_) if received > expected => Err(Fault::TooMany { received, expected }),
        Some(_) => Ok(()),
        None => Err(Fault::Lost {
            received,
            expected,
            seconds: FINISH.as_secs(),
        }),
    }
}

/// Does something and reports what was sent, received and spent meanwhile. `is_whole`: everything
/// that is sent arrives meanwhile, too.
fn measure(
    crowd: &mut Crowd,
    report: &mut Report,
    is_whole: bool,
    what: impl FnOnce(&mut Crowd) -> Result<(), Fault>,
) -> Result<(), Fault> {
    crowd.begin_latencies()?;
    let (began, before) = (crowd.reading()?, crowd.shared.totals());
    what(crowd)?;
    let (ended, after) = (crowd.reading()?, crowd.shared.totals());
    let published = crowd.end_latencies()?;
    let passed = began.until(&ended);
    let deliveries = (after.received - before.received) as f64;
    let wall_us = if is_whole {
        // To the last message, and not to when that was noticed.
        after.received_us.saturating_sub(began.wall_us) as f64
    } else {
        passed.wall_us
    };
    report.count("messages", after.sent - before.sent);
    report.number("deliveries", deliveries);
    report.number("messages_per_s", deliveries / wall_us * 1e6);
    for (name, count) in [
        ("other_messages", after.others - before.others),
        ("reconnects", after.reopened - before.reopened),
    ] {
        if count > 0 {
            report.count(name, count);
        }
    }
    let per_message = |us: f64| us / deliveries;
    report.perhaps(
        "server_cpu_us_per_message",
        passed.server_us.map(per_message),
    );
    report.perhaps("core_busy_us_per_message", passed.core_us.map(per_message));
    report.shares(&passed);
    report.latencies(&published);
    if is_whole {
        report.number("duration_s", wall_us / 1e6);
        // From when a message was sent until its last receiver had it, of all messages the longest.
        report.number("broadcast_s", published.longest_us as f64 / 1e6);
    }
    Ok(())
}
